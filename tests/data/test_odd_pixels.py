"""Pixels of images that few programs write, against values worked out by hand."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cli_ray.data.sample import BadDataError
from tests.data.test_images import BLUE, GREEN, INVERSE, RED, WHITE, chunk, pixels, quarters, saved, turned


def png(width: int, height: int, bits: int, kind: int, rows: bytes, key: bytes) -> bytes:
    """A PNG with a transparent colour, from raw rows with their filter bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", key) + data


def test_ycck_jpeg() -> None:
    """A CMYK JPEG whose Adobe segment says YCCK; both are stored inverted, so that YCC of CMY is what is in it."""
    cyan, magenta, yellow = 200, 50, 100
    luma = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow
    ycc = (luma, 128 + 0.564 * (yellow - luma), 128 + 0.713 * (cyan - luma))
    stored = Image.new("CMYK", (16, 16), (*(255 - round(value) for value in ycc), 51))
    jpeg = bytearray(saved(stored, "JPEG", quality=100))
    transform = jpeg.index(b"Adobe") + 11
    assert jpeg[transform] == 0
    jpeg[transform] = 2
    expected = [(255 - ink) * (255 - 51) / 255 for ink in (cyan, magenta, yellow)]
    assert np.abs(pixels(bytes(jpeg)).astype(int) - expected).max() < 4


def test_a_transparent_colour_of_rgb() -> None:
    image = Image.new("RGB", (4, 2), RED)
    image.putpixel((1, 1), BLUE)
    found = pixels(saved(image, transparency=RED))
    assert found[1, 1].tolist() == list(BLUE)
    assert (found[0] == WHITE).all()


def test_a_palette_with_alpha() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    assert pixels(saved(image, transparency=bytes((255, 0, 51)))).tolist() == [[[*RED], [*WHITE], [204, 204, 255]]]


def test_a_transparent_grey_of_sixteen_bits() -> None:
    rows = b"\0" + struct.pack(">3H", 0x1234, 0x1235, 0xFFFF)
    assert pixels(png(3, 1, 16, 0, rows, b"\x12\x34"))[0, :, 0].tolist() == [255, 0x12, 255]


def test_a_transparent_grey_of_eight_bits() -> None:
    assert pixels(png(3, 1, 8, 0, b"\0\x07\x08\x09", b"\0\x08"))[0, :, 0].tolist() == [7, 255, 9]


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [(1, b"\x40", 0, [255, 255, 255]), (2, b"\x6c", 2, [85, 255, 255]), (4, b"\x78\x90", 8, [119, 255, 153])],
)
def test_a_transparent_grey_of_few_bits(bits: int, row: bytes, key: int, expected: list[int]) -> None:
    assert pixels(png(3, 1, bits, 0, b"\0" + row, struct.pack(">H", key)))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("key", [(0x1000, 0x2000, 0x3000), (0, 0, 0)])
def test_a_transparent_colour_of_sixteen_bits_is_refused(key: tuple[int, int, int]) -> None:
    """Only 8 of them are left where the key could be looked for."""
    with pytest.raises(BadDataError, match="write an alpha channel"):
        pixels(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", *key), struct.pack(">3H", *key)))


def test_twelve_bits() -> None:
    """A TIFF of two greys in three bytes."""
    values = [(256, 4, 2), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, 1)]
    values.append((279, 4, 3))
    tags = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in values)
    data = b"\xab\xc1\x23\0\0\0\0\0"
    tiff = b"II*\0" + struct.pack("<I", 16) + data + struct.pack("<H", len(values)) + tags + bytes(4)
    assert pixels(tiff)[0, :, 0].tolist() == [0xAB, 0x12]


@pytest.mark.parametrize("orientation", INVERSE)
@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_orientation_of_formats_that_pillow_may_turn_itself(kind: str, orientation: int) -> None:
    stored = turned(quarters(), orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(saved(stored, kind, exif=exif)).astype(int)
    assert found.shape == (32, 48, 3)
    assert np.abs(found - np.asarray(quarters()).astype(int)).mean() < 4


def test_a_colour_profile_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for kind in ("PNG", "TIFF", "WEBP"):
        found = pixels(saved(quarters(), kind, icc_profile=profile, lossless=True))
        assert np.array_equal(found, np.asarray(quarters()))


def test_a_progressive_jpeg() -> None:
    found = pixels(saved(quarters(), "JPEG", progressive=True, quality=95)).astype(int)
    assert np.abs(found - np.asarray(quarters()).astype(int)).mean() < 4
    assert found[8, 36].tolist() == pytest.approx(GREEN, abs=4)
