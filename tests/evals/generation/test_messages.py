"""What an API is asked: the same texts and pictures, where the prompt has them."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_ray.data.images import decode
from cli_ray.data.sample import BadDataError
from cli_ray.evals.generation.messages import data_urls, message_of
from cli_ray.evals.items.images import LIMITS


def encoded(name: str, mode: str = "RGB", **settings: Any) -> bytes:
    """A noise image."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 20, 4), dtype=np.uint8)
    image = Image.fromarray(pixels[..., :3]).convert(mode)
    if mode == "RGBA":
        image = Image.fromarray(pixels, "RGBA")
    file = io.BytesIO()
    image.save(file, name, **settings)
    return file.getvalue()


def turned() -> bytes:
    """A JPEG of a camera that was held upright."""
    exif = Image.Exif()
    exif[274] = 6
    return encoded("JPEG", exif=exif)


def moving(name: str) -> bytes:
    """A picture with two frames."""
    return encoded(name, save_all=True, append_images=[Image.new("RGB", (20, 12), "red")])


def parts_of(prompt: str, images: int) -> list[str]:
    """The parts of a message: texts, and `!` for images."""
    message = message_of(prompt, [encoded("PNG")] * images)
    assert message["role"] == "user"
    return [part.get("text", "!") for part in message["content"]]


@pytest.mark.parametrize(
    ("prompt", "images", "parts"),
    [
        ("How?\nSo?", 1, ["!", "How?\nSo?"]),
        ("How?", 2, ["!", "!", "How?"]),
        (" How?", 0, [" How?"]),
        ("<image>\nHow?", 1, ["!", "How?"]),
        ("<image> <image>\nHow?", 2, ["!", "!", "How?"]),
        ("See <image> and\n<image>.", 2, ["See ", "!", " and\n", "!", "."]),
        ("Is it <image>", 1, ["Is it ", "!"]),
        ("See <image>.", 2, ["!", "!", "See ."]),
        ("答案 \N{SNOWMAN}", 1, ["!", "答案 \N{SNOWMAN}"]),
    ],
)
def test_images_stand_where_the_prompt_has_marks_else_in_front(prompt: str, images: int, parts: list[str]) -> None:
    assert parts_of(prompt, images) == parts


@pytest.mark.parametrize(
    ("image", "mime"),
    [
        (encoded("JPEG"), "image/jpeg"),
        (encoded("JPEG", "L"), "image/jpeg"),
        (encoded("PNG"), "image/png"),
        (encoded("PNG", "P"), "image/png"),
        (encoded("WEBP"), "image/webp"),
    ],
)
def test_images_that_every_api_shows_alike_are_sent_as_they_are(image: bytes, mime: str) -> None:
    (url,) = data_urls([image])
    assert url == f"data:{mime};base64,{base64.b64encode(image).decode()}"


@pytest.mark.parametrize(
    "image",
    [
        encoded("BMP"),
        encoded("TIFF"),
        encoded("GIF"),
        encoded("JPEG", "CMYK"),
        encoded("PNG", "RGBA"),
        encoded("PNG", "1"),
        encoded("JPEG2000"),
        turned(),
        moving("PNG"),
        moving("WEBP"),
    ],
    ids=["bmp", "tiff", "gif", "cmyk", "transparent", "bits", "jpeg2000", "turned", "moving png", "moving webp"],
)
def test_other_images_are_sent_as_png_of_the_pixels_that_our_models_see(image: bytes) -> None:
    (url,) = data_urls([image])
    kind, _, content = url.partition(";base64,")
    assert kind == "data:image/png"
    seen = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (seen.mode, seen.tobytes()) == ("RGB", decode(image, LIMITS).tobytes())


@pytest.mark.parametrize("image", [b"", b"text", encoded("PNG")[:60]])
def test_what_is_no_image_is_not_sent(image: bytes) -> None:
    with pytest.raises(BadDataError, match="broken image"):
        message_of("How?", [image])
