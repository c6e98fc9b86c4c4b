"""Images that were cut, changed, mislabelled, or lie about their size; from a seed."""

import io
import struct
import zlib
from random import Random
from typing import Any

from PIL import Image

KINDS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F")


def hostile_image(random: Random) -> tuple[str, bytes]:
    """The kind of an image, and its bytes."""
    kind, good = _image(random)
    match random.choice(("whole", "cut", "changed", "bomb", "garbage", "odd", "wide")):
        case "cut":
            return f"{kind}, cut", good[: random.randrange(len(good))]
        case "changed":
            changed = bytearray(good)
            for _ in range(random.randint(1, 8)):
                changed[random.randrange(len(changed))] = random.randrange(256)
            return f"{kind}, changed", bytes(changed)
        case "bomb":
            return "PNG, bomb", _bomb(random)
        case "odd":
            return _odd(random)
        case "wide":
            return "65,535 wide", _saved(Image.new("1", (65_535, random.choice((1, 30, 400)))), "PNG")
        case "garbage":
            return "garbage", random.randbytes(random.randrange(500))
    return kind, good


def _image(random: Random) -> tuple[str, bytes]:
    """An image of a random format, mode and size that Pillow can write."""
    size = random.choice(((1, 1), (1, 9), (33, 20), (201, 1), (64, 64)))
    while True:
        kind, mode, file = random.choice(KINDS), random.choice(MODES), io.BytesIO()
        try:
            Image.new(mode, size).save(file, kind)
        except (OSError, ValueError, KeyError):
            continue  # this format has no such mode
        return kind, file.getvalue()


def _odd(random: Random) -> tuple[str, bytes]:
    """A valid image that is animated, turned, of inks, with a strange profile, or with much beside its pixels."""
    image, exif = Image.effect_noise((40, 30), 50).convert("RGB"), Image.Exif()
    exif[0x0112] = random.choice((0, *range(1, 10), 65_535))
    match random.choice(("animated", "turned", "broken EXIF", "CMYK", "profile", "tail", "segments", "mislabelled")):
        case "animated":
            kind = random.choice(("GIF", "PNG", "WEBP", "TIFF", "AVIF"))
            return f"{kind}, animated", _saved(
                image, kind, save_all=True, append_images=[image] * random.randint(1, 20)
            )
        case "turned":
            kind = random.choice(("JPEG", "PNG", "WEBP", "TIFF", "AVIF"))
            return f"{kind}, EXIF-rotated", _saved(image, kind, exif=exif)
        case "broken EXIF":
            return "JPEG, broken EXIF", _saved(image, "JPEG", exif=b"Exif\0\0" + random.randbytes(99))
        case "CMYK":
            return "JPEG, CMYK", _saved(image.convert("CMYK"), "JPEG", progressive=random.random() < 0.5)
        case "profile":
            return "PNG, strange profile", _saved(image, "PNG", icc_profile=random.randbytes(500))
        case "tail":
            return "PNG, with a tail", _saved(image, "PNG") + random.randbytes(5000)
        case "segments":
            jpeg, segment = _saved(image, "JPEG"), b"Exif\0\0" + bytes(50)
            return "JPEG, many segments", jpeg[:2] + (b"\xff\xe1\0\x3a" + segment) * random.choice((2, 9000)) + jpeg[2:]
    return "PNG, called another format", random.choice((b"GIF89a", b"\xff\xd8\xff", b"BM")) + _saved(image, "PNG")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _bomb(random: Random) -> bytes:
    """A PNG whose header declares up to 2**31 pixels a side."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", random.randint(1, 2**31 - 1), random.randint(5000, 2**31 - 1), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
