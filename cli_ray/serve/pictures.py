"""The images of a request: from their addresses to bytes that were decoded once, so that what the model's process gets
is an image within the limits. `api` calls it.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cli_ray.config.serving import LimitsConfig
from cli_ray.data.images import IMAGES_IN_FULL, Limits, decode
from cli_ray.data.sample import BadDataError
from cli_ray.inference.fetch import fetch
from cli_ray.inference.request import BadRequestError
from cli_ray.serve.refusal import RefusalError

DECODERS = 2
"""Threads that decode: each may hold the pixels of an image."""
FETCHERS = 16
"""Threads that fetch: each waits for a stranger's server for 20 s at most."""
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


class Pictures:
    """Reads images, in threads of its own where that takes time.

    Args:
        limits: of the server.
        are_fetched: whether `http` and `https` addresses are read, too.
    """

    def __init__(self, limits: LimitsConfig, *, are_fetched: bool) -> None:
        self._limits, self._are_fetched = limits, are_fetched
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetcher")

    async def read(self, urls: Sequence[tuple[str, str]]) -> tuple[bytes, ...]:
        """The encoded images.

        Args:
            urls: the message that each stands in, for errors, and its address.

        Raises:
            RefusalError: one is no image, cannot be had, or is too large, or all are together.
        """
        images = [(where, await self._one(url, where)) for where, url in urls]
        if images:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._decoders, check_images, images, self._limits)
        return tuple(content for _, content in images)

    async def _one(self, url: str, where: str) -> bytes:
        scheme = url[:8].partition(":")[0].lower()
        if scheme == "data":
            return from_data_url(url, where, self._limits)
        if scheme not in ("http", "https") or not self._are_fetched:
            taken = "a data URL, http or https address" if self._are_fetched else "a data URL"
            raise refused(where, f"the address of an image must be {taken}")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._fetchers, fetch, url, self._limits.image_bytes)
        except BadRequestError:  # which machines are there and answer is nothing to tell strangers
            raise refused(where, "the image cannot be fetched from its address") from None


def from_data_url(url: str, where: str, limits: LimitsConfig) -> bytes:
    """The encoded image in a data URL (RFC 2397).

    Args:
        url: begins with `data:`.
        where: the message, for errors.
        limits: of the server.

    Raises:
        RefusalError: it is of another type, no base64, or too large.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise refused(where, f"{url[:40]!r} must begin with data:image/TYPE;base64,")
    text = url[head.end() :]
    check_size(len(text) * 3 // 4, where, limits)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refused(where, "the data URL holds no base64") from None


def check_size(size: int, where: str, limits: LimitsConfig) -> None:
    """Refuses (RefusalError, 413) an encoded image of too many bytes."""
    if size > limits.image_bytes:
        detail = f"an image of {size / 2**20:.1f} MiB, this server allows {limits.image_MiB:g}"
        raise refused(where, detail, status=413)


def check_images(images: Sequence[tuple[str, bytes]], limits: LimitsConfig) -> None:
    """Decodes images one after the other and drops the pixels.

    Args:
        images: where each stands, and its bytes.
        limits: of the server.

    Raises:
        RefusalError: one is no image, or has too many pixels, or all have together.
    """
    allowed, pixels = Limits(limits.image_pixels, limits.image_bytes), 0
    for where, content in images:
        try:
            image = decode(content, allowed)
        except BadDataError as error:
            if error.reason == "image too large":
                raise refused(where, f"an image of too many pixels; {_allowance(limits)}") from None
            raise refused(where, str(error)) from None
        pixels += image.width * image.height
        if pixels > IMAGES_IN_FULL * limits.image_pixels:
            raise refused(where, f"the images up to this one have {pixels:,} pixels; {_allowance(limits)}")


def _allowance(limits: LimitsConfig) -> str:
    return (
        f"this server allows {limits.image_pixels:,} as a square of the longer side, {IMAGES_IN_FULL} times that for "
        "all images of a request, and no side that is very much longer than the other"
    )


def refused(where: str, detail: str, status: int = 400) -> RefusalError:
    """The error about an image."""
    return RefusalError(status, f"{where}: {detail}", f"{where}.content", "invalid_image")
