"""Images that were cut, changed, mislabelled, or lie about their size; from a seed."""

import io
import struct
import zlib
from random import Random

from PIL import Image

KINDS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F")


def hostile_image(random: Random) -> tuple[str, bytes]:
    """The kind of an image, and its bytes."""
    kind, good = _image(random)
    match random.choice(("whole", "cut", "changed", "bomb", "garbage")):
        case "cut":
            return f"{kind}, cut", good[: random.randrange(len(good))]
        case "changed":
            changed = bytearray(good)
            for _ in range(random.randint(1, 8)):
                changed[random.randrange(len(changed))] = random.randrange(256)
            return f"{kind}, changed", bytes(changed)
        case "bomb":
            return "PNG, bomb", _bomb(random)
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


def _bomb(random: Random) -> bytes:
    """A PNG whose header declares up to 2**31 pixels a side."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", random.randint(1, 2**31 - 1), random.randint(5000, 2**31 - 1), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
