"""The images of a request: from their addresses to bytes that were decoded once, so that what the model's process gets
is an image within the limits.

`api` calls it in threads, for decoding takes time.
"""

import base64
import binascii
import re

from cli_ray.config.serving import LimitsConfig
from cli_ray.data.images import IMAGES_IN_FULL, Limits, decode
from cli_ray.data.sample import BadDataError
from cli_ray.serve.refusal import RefusalError

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


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


def check_images(images: list[tuple[str, bytes]], limits: LimitsConfig) -> None:
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
