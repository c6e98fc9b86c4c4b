"""Pictures come from files, bytes, Pillow, data URLs and, where it is asked for, the web; all else is told clearly."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_ray.data.images import decode
from cli_ray.inference import pictures
from cli_ray.inference.pictures import LIMITS, Picture, all_encoded, encoded
from cli_ray.inference.request import BadRequestError


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def test_all_ways_to_give_a_picture_give_the_same_pixels(image: Image.Image, tmp_path: Path) -> None:
    content, path = png(image), tmp_path / "a.png"
    path.write_bytes(content)
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    ways: list[Picture] = [content, path, str(path), path.as_uri(), url, image]
    assert [decode(given, LIMITS).tobytes() for given in all_encoded(ways)] == [image.tobytes()] * len(ways)
    assert all_encoded(path) == all_encoded([path]) == (content,)
    assert all_encoded([]) == ()
    assert decode(encoded(image.convert("CMYK")), LIMITS).size == image.size
    assert decode(encoded(image.convert("I")), LIMITS).size == image.size


def test_what_is_no_picture_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.png").write_bytes(bytes(1000))
    bad: dict[str, Picture] = {
        "there is no picture": tmp_path / "none.png",
        "is a folder: name a picture in it": tmp_path,
        "image too large": tmp_path / "large.png",
        "is a web address": "https://example.com/a.png",
        "must begin with data:image": "data:text/html;base64,AAAA",
        "no base64": "data:image/png;base64,???",
        "above": f"data:image/png;base64,{'A' * 10_000}",
        "cannot be read": "nowhere://a/b.png",
    }
    monkeypatch.setattr(pictures, "LIMITS", LIMITS.__class__(LIMITS.max_pixels, 999))
    for reason, given in bad.items():
        with pytest.raises(BadRequestError, match=reason):
            encoded(given)
    with pytest.raises(BadRequestError, match="cannot be read"):
        encoded("x" * 5000)
