"""Shown samples as one HTML file with its pictures in it, which loads nothing and runs nothing."""

import base64
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cli_ray.data.show.view import View

_HERE = Path(__file__).parent


def page_of(views: Iterable[View], title: str, notes: Iterable[str]) -> str:
    """The HTML of some samples.

    Args:
        views: of the samples.
        title: of the page, any text.
        notes: on what was read, a paragraph each.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_url"] = _data_url
    style = (_HERE / "page.css").read_text()
    return environment.get_template("page.html").render(
        views=views, title=title, notes=notes, style=style, policy=content_policy(style)
    )


def content_policy(style: str) -> str:
    """The Content-Security-Policy of a page that loads nothing and runs nothing.

    Args:
        style: its style sheet, the only one that counts.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
