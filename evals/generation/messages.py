"""What is asked about an item: the prompt with its image marks, and the same as the message of a chat API.

Replicas take the marks (`predictor`), endpoints the message (`api`).
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import ExifTags, Image

from cli_ray.data.images import FORMATS, decode_all
from cli_ray.data.sample import IMAGE_MARK
from cli_ray.evals.items.images import LIMITS

_MIME = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Formats that every API takes, by Pillow's name; an MPO is a JPEG with more pictures behind it. GIF is none of them,
since APIs refuse those that move."""


def with_marks(prompt: str, images: int) -> str:
    """The prompt with as many image marks as images: where it has them itself, else all in front.

    Marks that stand for nothing are taken out.
    """
    if prompt.count(IMAGE_MARK) == images:
        return prompt
    prompt = prompt.replace(IMAGE_MARK, "")
    return f"{' '.join([IMAGE_MARK] * images)}\n{prompt}" if images else prompt


def message_of(prompt: str, images: Sequence[bytes]) -> dict[str, Any]:
    """The user's message of a chat API, with an image part where the prompt has a mark, else all in front.

    Args:
        images: encoded, in the order of the marks.

    Raises:
        BadDataError: one cannot be decoded whole, or is too large to be decoded.
    """
    texts = with_marks(prompt, len(images)).split(IMAGE_MARK)
    if not any(text.strip() for text in texts[:-1]):  # blanks between and behind images in front are no question
        texts = [""] * len(images) + [texts[-1].lstrip() if images else texts[-1]]
    parts: list[dict[str, Any]] = []
    for text, url in zip(texts, [*data_urls(images), ""], strict=True):
        parts += [{"type": "text", "text": text}] if text else []
        parts += [{"type": "image_url", "image_url": {"url": url}}] if url else []
    return {"role": "user", "content": parts}


def data_urls(images: Sequence[bytes]) -> list[str]:
    """Encoded images as data URLs: the very bytes of those that every API shows alike, others as PNG of their pixels
    as `cli_ray.data.images.decode` gives them.

    Raises:
        BadDataError: one cannot be decoded whole, or they are too large to be decoded.
    """
    pixels = decode_all(images, LIMITS)
    return [_data_url(encoded, rgb) for encoded, rgb in zip(images, pixels, strict=True)]


def _data_url(encoded: bytes, rgb: Image.Image) -> str:
    mime = _plain_mime(encoded)
    if not mime:
        file = io.BytesIO()
        rgb.save(file, "PNG")
        mime, encoded = "image/png", file.getvalue()
    return f"data:{mime};base64,{base64.b64encode(encoded).decode()}"


def _plain_mime(encoded: bytes) -> str:
    """The type of an image that everybody decodes to the same pixels; empty for one that is turned, transparent, moves,
    or has other than 8 bits of grey or colour.

    Args:
        encoded: of an image that was decoded before.
    """
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    moves = image.format != "MPO" and getattr(image, "is_animated", False)
    if moves or image.mode not in ("L", "P", "RGB") or image.has_transparency_data:
        return ""
    try:
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    except Exception:  # as in `cli_ray.data.images.decode`
        upright = True
    return _MIME.get(image.format or "", "") if upright else ""
