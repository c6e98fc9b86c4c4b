"""What a model is fed from odd but valid images is right by pixels; what cannot be decoded is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cli_ray.data.images import Limits, decode, decode_all
from cli_ray.data.sample import BadDataError
from tests.data.shards import picture

LIMITS = Limits(max_pixels=1_000_000, max_bytes=1 << 20)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

INVERSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera did to the upright image, by EXIF orientation."""


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """An encoded image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(encoded: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The decoded image, [H, W, C]."""
    image = decode(encoded, LIMITS)
    assert image.mode == "RGB"
    return np.asarray(image)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def quarters() -> Image.Image:
    """Red and green over blue and white, 48 x 32 pixels."""
    image = Image.new("RGB", (48, 32))
    for at, colour in (((0, 0), RED), ((24, 0), GREEN), ((0, 16), BLUE), ((24, 16), WHITE)):
        image.paste(colour, (*at, at[0] + 24, at[1] + 16))
    return image


def turned(upright: Image.Image, orientation: int) -> Image.Image:
    """As a camera that was held so stores it."""
    turn = INVERSE[orientation]
    return upright if turn is None else upright.transpose(turn)


@pytest.mark.parametrize("orientation", INVERSE)
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored = turned(quarters(), orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "WEBP"):
        assert np.array_equal(pixels(saved(stored, kind, exif=exif, lossless=True)), np.asarray(quarters()))
    jpeg = pixels(saved(stored, "JPEG", exif=exif, quality=95)).astype(int)
    assert np.abs(jpeg - np.asarray(quarters()).astype(int)).mean() < 4


def test_broken_exif_leaves_the_image_as_it_is() -> None:
    good = saved(quarters(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert pixels(good).shape == (32, 48, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    rgba = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    rgba.paste((0, 0, 0, 255), (0, 0, 4, 8))
    rgba.paste((0, 0, 0, 128), (4, 4, 8, 8))
    found = pixels(saved(rgba.convert(mode)))
    assert (found[:, :4] == 0).all()
    assert (found[:4, 4:] == 255).all()
    assert (found[4:, 4:] == 127).all()


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((3, 1), 1)
    assert pixels(saved(image, transparency=1))[1, 3].tolist() == list(WHITE)
    found = pixels(saved(image, "GIF", transparency=0))
    assert found[0, 0].tolist() == list(WHITE)
    assert found[1, 3].tolist() == list(BLUE)


def test_palette_grey_and_bilevel() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([*RED, *GREEN])
    assert (pixels(saved(image)) == GREEN).all()
    assert (pixels(saved(Image.new("L", (4, 2), 77))) == 77).all()
    assert (pixels(saved(Image.new("1", (4, 2), 1))) == 255).all()


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.repeat((ramp >> 8).astype(np.uint8)[..., None], 3, axis=2)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(pixels(saved(Image.fromarray(ramp), kind)), expected)


def test_sixteen_bit_colour() -> None:
    """Pillow cannot write it, so the PNG is put together by hand."""
    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256, 257, 65280)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert pixels(png).tolist() == [[[255, 128, 0], [1, 1, 255]]]


def test_cmyk() -> None:
    cyan_red = Image.new("CMYK", (16, 8), (255, 0, 0, 0))
    cyan_red.paste((0, 255, 255, 0), (8, 0, 16, 8))
    for kind in ("TIFF", "JPEG"):
        found = pixels(saved(cyan_red, kind)).astype(int)
        assert np.abs(found[:, :8] - (0, 255, 255)).max() < 4
        assert np.abs(found[:, 8:] - RED).max() < 4


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    for kind in ("GIF", "PNG", "WEBP"):
        animated = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert (pixels(animated) == RED).all()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP", "AVIF"])
def test_formats(kind: str) -> None:
    assert decode(saved(quarters(), kind), LIMITS).size == (48, 32)


@pytest.mark.parametrize("size", [(1, 1), (200, 1), (1, 200)])
def test_small_and_thin_images(size: tuple[int, int]) -> None:
    assert decode(saved(Image.new("RGB", size)), LIMITS).size == size


@pytest.mark.parametrize(
    ("encoded", "reason", "detail"),
    [
        (b"", "broken image", "zero bytes"),
        (b"\xff\xd8\xff" + b"?" * 50, "broken image", "no image in any of"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "broken image", "no image in any of"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "broken image", "no image in any of"),
        (picture()[:-200], "broken image", "truncated"),
        (saved(quarters(), "JPEG", quality=99)[:-40], "broken image", "truncated"),
        (saved(Image.new("F", (4, 4)), "TIFF"), "broken image", "no known range"),
        (saved(Image.new("1", (1001, 1000)), "PNG"), "image too large", "data.max_image_pixels"),
        (saved(Image.new("1", (1001, 6)), "PNG"), "image too large", "as a square"),
        (saved(Image.new("1", (201, 1)), "PNG"), "image too large", "200 times"),
        (b"\x89PNG" + bytes(2 << 20), "image too large", "data.max_image_MiB = 1"),
    ],
)
def test_bad_images(encoded: bytes, reason: str, detail: str) -> None:
    with pytest.raises(BadDataError, match=detail) as caught:
        decode(encoded, LIMITS)
    assert caught.value.reason == reason


def test_a_bomb_is_refused_by_its_header() -> None:
    """60,000 x 60,000 pixels in a few bytes; decoding it would take 10 GB."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    with pytest.raises(BadDataError, match="60000 x 60000"):
        decode(png, Limits(89_478_485, 1 << 20))


def test_a_colour_profile_does_no_harm() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels(saved(quarters(), icc_profile=profile)), np.asarray(quarters()))


def test_many_large_images_are_refused_together() -> None:
    large = saved(Image.new("1", (1000, 1000)))
    assert len(decode_all([large] * 4, LIMITS)) == 4
    with pytest.raises(BadDataError, match="5 images have 5,000,000 pixels"):
        decode_all([large] * 9, LIMITS)
