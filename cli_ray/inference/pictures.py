"""Pictures that people name: files, bytes, images of Pillow, data URLs and, where it is asked for, web addresses.

The commands, the library and the server ask for the encoded bytes, which the engine decodes.
"""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cli_ray.config import DataConfig
from cli_ray.data.images import Limits, read_small
from cli_ray.data.sample import BadDataError
from cli_ray.inference.request import BadRequestError

Picture = str | Path | bytes | Image.Image
"""A path, pyarrow URI, data URL or web address; an encoded image; or one of Pillow."""

_FIELDS = DataConfig.model_fields
LIMITS = Limits(_FIELDS["max_image_pixels"].default, int(_FIELDS["max_image_MiB"].default * 2**20))
"""What an image may cost: the defaults of training."""
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_SHOWN = 60
"""Characters of a name that are shown."""


def all_encoded(pictures: Picture | Sequence[Picture], *, allow_urls: bool = False) -> tuple[bytes, ...]:
    """One or several, see `encoded`."""
    if isinstance(pictures, str | Path | bytes | Image.Image):
        pictures = [pictures]
    return tuple(encoded(picture, allow_urls=allow_urls) for picture in pictures)


def encoded(picture: Picture, *, allow_urls: bool = False) -> bytes:
    """The encoded image.

    Args:
        picture: what a person gave.
        allow_urls: whether web addresses may be read; see `fetch`.

    Raises:
        BadRequestError: there is none, or it is too large to be read.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Image.Image):
        return _of_pillow(picture)
    name = str(picture)
    if name.startswith("data:"):
        return of_data_url(name)
    if is_url(name):
        if not allow_urls:
            raise BadRequestError(f"{name[:_SHOWN]} is a web address: these are read with --allow-urls alone")
        from cli_ray.inference.fetch import fetch

        return fetch(name, LIMITS.max_bytes)
    return _of_file(name)


def is_url(name: str) -> bool:
    """Whether a name is an address in the web."""
    return name.lower().startswith(("http://", "https://"))


def of_data_url(url: str) -> bytes:
    """The bytes in a data URL such as `data:image/png;base64,...`. No message holds them.

    Raises:
        BadRequestError: it is no such URL, or larger than an image may be.
    """
    head = _DATA.match(url)
    if head is None:
        raise BadRequestError("a data URL must begin with data:image/TYPE;base64, such as data:image/png;base64,")
    if len(url) > LIMITS.max_bytes * 4 // 3 + _SHOWN:
        raise BadRequestError(f"a data URL of {len(url):,} characters is above {LIMITS.max_bytes / 2**20:g} MiB")
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except ValueError as error:
        raise BadRequestError(f"a data URL holds what is no base64: {error}") from error


def _of_file(name: str) -> bytes:
    try:
        if Path(name).is_dir():
            raise BadRequestError(f"{name} is a folder: name a picture in it")
        return read_small(name, LIMITS.max_bytes)
    except FileNotFoundError:
        raise BadRequestError(f"there is no picture {name}: name a file") from None
    except BadDataError as error:
        raise BadRequestError(f"{error.reason}: {error.detail}") from error
    except (OSError, ValueError) as error:  # such as a file of somebody else's, a name too long, an unknown scheme
        if isinstance(error, BadRequestError):
            raise
        raise BadRequestError(f"the picture {name[:_SHOWN]} cannot be read: {error}") from error


def _of_pillow(image: Image.Image) -> bytes:
    file = io.BytesIO()
    (image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA")).save(file, "PNG")
    return file.getvalue()
