"""Images that nobody vouches for: the files that a dataset names, and decoding to plain RGB.

The encoder, `cli-ray data check` and the evaluations decode through it. Every check has a limit from the config, or one
beside its reason below: a training must not hang on one sample, nor read a file that its dataset must not name.
"""

import io
import os
import posixpath
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from pyarrow import fs

from cli_ray.config import DataConfig
from cli_ray.data.sample import BadDataError
from cli_ray.storage.files import resolve

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
"""Decoders that are tried. Pillow has more; some of those start other programs (EPS), read other files, or are
written in Python, so that a file of 64 MiB may take them ten minutes (PPM)."""

MAX_ASPECT = 200
"""Longest to shortest side. Processors scale the shorter side up to the tower's size, so that a thin line of
pixels would grow to gigabytes."""

MAX_SCANS = 100
"""Of a JPEG, as in libtiff; cameras write ten. Each goes over all pixels and needs no more than ten bytes: 30 KB of a
thousand scans of 2000 x 2000 pixels take libjpeg 8 seconds, and nothing else bounds that."""

READS_TO_OPEN, READS_TO_LOAD = 10_000, 1_000_000
"""Of pieces of a file: Pillow walks over blocks of metadata and chunks of pixels one by one, and there may be a
million of five bytes, which GIF comments join in quadratic time. A sound file needs some hundred, and then one for
every 3 KiB at most."""

IMAGES_IN_FULL = 4
"""Images of the largest size that one sample may hold; of smaller ones it may hold more."""

_BITS_PER_SAMPLE = 258
_PNG_DEPTH = 24
"""Offset of the bits a channel."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's own check has one limit per process and warns in between; `decode` has its own, per call.
Image.MAX_IMAGE_PIXELS = None
# One image can make it warn of thousands of tags.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may cost."""

    max_pixels: int
    """Width x height, of the image and of the square it may be padded to."""
    max_bytes: int
    """Encoded size."""

    @classmethod
    def of(cls, data: DataConfig) -> Self:
        """The limits of a config."""
        return cls(data.max_image_pixels, int(data.max_image_MiB * 2**20))

    def check_bytes(self, name: str, sizes: Sequence[int]) -> None:
        """Refuses encoded images (BadDataError) of which one, or all those of a sample together, are too large."""
        if max(sizes, default=0) > self.max_bytes or sum(sizes) > IMAGES_IN_FULL * self.max_bytes:
            limit = f"data.max_image_MiB = {self.max_bytes / 2**20:g}, {IMAGES_IN_FULL} times that for a whole sample"
            raise BadDataError("image too large", f"{name}: {sum(sizes) / 2**20:,.1f} MiB, above {limit}")


def join_inside(folder: str, name: str, roots: Sequence[str] = (), hint: str = "") -> str:
    """The path of a file that a dataset names, which must lie in `folder`, symbolic links followed.

    Args:
        folder: to lie in.
        name: relative path.
        roots: further folders, into which links may lead.
        hint: what else to do, for the message about a link that leads elsewhere.

    Raises:
        BadDataError: it does not.
    """
    steps = posixpath.normpath(name).split("/")
    leaves = "://" in name or name.startswith(("/", "\\", "~")) or steps[0] == ".."
    if not name or leaves or "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise BadDataError("forbidden path", f"{name!r}: must be a relative path that stays in {folder}")
    joined = f"{folder.rstrip('/')}/{'/'.join(steps)}"
    if "://" not in folder:
        real = os.path.realpath(joined)
        allowed = [os.path.realpath(os.path.expanduser(root)) for root in (folder, *roots)]
        if all(os.path.commonpath([root, real]) != root for root in allowed):
            raise BadDataError("forbidden path", f"{name!r}: is a link out of {folder}, to {real}{hint}")
    return joined


def read_small(path: str, limit_bytes: int) -> bytes:
    """The whole of a regular file.

    Raises:
        FileNotFoundError: there is no regular file.
        BadDataError: it is larger than `limit_bytes`.
    """
    filesystem, inner = resolve(path)
    info = filesystem.get_file_info(inner)
    if info.type != fs.FileType.File:
        raise FileNotFoundError(path)
    if info.size > limit_bytes:
        raise BadDataError("image too large", f"{path}: {info.size:,} bytes, the limit is {limit_bytes:,}")
    with filesystem.open_input_file(inner) as file:
        return bytes(file.read())


def decode_all(encoded: Sequence[bytes], limits: Limits) -> list[Image.Image]:
    """The images of a sample, see `decode`; together they may have as many pixels as a few of the largest allowed."""
    images: list[Image.Image] = []
    for content in encoded:
        images.append(decode(content, limits))
        pixels = sum(image.width * image.height for image in images)
        if pixels > IMAGES_IN_FULL * limits.max_pixels:
            limit = f"{IMAGES_IN_FULL} x data.max_image_pixels = {IMAGES_IN_FULL * limits.max_pixels:,}"
            raise BadDataError("image too large", f"{len(images)} images have {pixels:,} pixels already, above {limit}")
    return images


def decode(encoded: bytes, limits: Limits) -> Image.Image:
    """The upright RGB image (mode RGB, 8 bits); the first frame of an animation.

    EXIF orientation is applied, transparency is laid on white, 12- and 16-bit grey are scaled down, and
    palettes and CMYK are resolved. Colour profiles are ignored, as they are by the processors that the
    towers were trained with.

    Raises:
        BadDataError: the bytes are no image that can be decoded whole, or it is too large.
    """
    if not encoded:
        raise BadDataError("broken image", "zero bytes")
    limits.check_bytes("the image", [len(encoded)])
    try:
        file = _Pieces(encoded)
        image = Image.open(file, formats=FORMATS)
        _check_size(image, limits)
        _check_scans(image, encoded)
        file.left = READS_TO_LOAD
        image.load()
        _scale_key(image, encoded)
        return _turned(_to_rgb(image), image)
    except BadDataError:
        raise
    except UnidentifiedImageError as error:
        raise BadDataError("broken image", f"no image in any of {', '.join(FORMATS)}") from error
    except Exception as error:  # whatever a decoder raises on hostile bytes, it is the bytes' fault
        raise BadDataError("broken image", f"{type(error).__name__}: {error}") from error


class _Pieces(io.BytesIO):
    """Bytes that are read in so many pieces at most."""

    left = READS_TO_OPEN

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise BadDataError("broken image", "far more blocks of metadata or pixels than any program writes")
        return super().read(size)


def _check_size(image: Image.Image, limits: Limits) -> None:
    """Refuses by the header, before pixels are allocated."""
    width, height = image.size
    shape = f"{width} x {height} pixels"
    if max(width, height) ** 2 > limits.max_pixels:
        raise BadDataError(
            "image too large", f"{shape}; as a square that is above data.max_image_pixels = {limits.max_pixels:,}"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadDataError("image too large", f"{shape}; one side is over {MAX_ASPECT} times the other")


def _check_scans(image: Image.Image, encoded: bytes) -> None:
    if image.format in ("JPEG", "MPO") and (scans := encoded.count(b"\xff\xda")) > MAX_SCANS:
        raise BadDataError("broken image", f"{scans:,} scans, a JPEG may have {MAX_SCANS}")


def _scale_key(image: Image.Image, encoded: bytes) -> None:
    """Pillow scales the pixels of a PNG to 8 bits and leaves its transparent colour as it is stored."""
    key, bits = image.info.get("transparency"), encoded[_PNG_DEPTH] if image.format == "PNG" else 8
    if image.mode == "L" and isinstance(key, int) and bits < 8:
        image.info["transparency"] = key * 255 // (2**bits - 1)
    if image.mode == "RGB" and isinstance(key, tuple) and bits == 16:
        raise BadDataError("broken image", "a transparent colour of 16 bits a channel; write an alpha channel")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise BadDataError("broken image", f"pixels of type {image.mode} have no known range; use 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 12 or 16 bits. A PNG may have one grey that is transparent."""
    grey = np.asarray(image).astype(np.uint16)
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0] if isinstance(image, TiffImageFile) else 16
    small = (grey >> (bits - 8)).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        small[grey == key] = 255
    return Image.fromarray(small).convert("RGB")


def _turned(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; an EXIF block that cannot be read says nothing, so the image stays as it is."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # camera software writes all kinds of broken EXIF around sound pixels
        return rgb
    return rgb if turn is None else rgb.transpose(turn)
