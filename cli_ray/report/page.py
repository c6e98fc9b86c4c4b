"""The page: a report as one HTML file that needs no network and runs no script. Called by `cli-ray report`.

Only the template makes HTML, and it escapes every text. Figures are images of their own (`data:` URIs), so nothing in
one reaches the page or another figure, and the Content-Security-Policy allows this page's style sheet and nothing else.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader

from cli_ray.data.show.page import content_policy
from cli_ray.report.section import Code, Figure, Section, Table, Tone
from cli_ray.report.texts import clean

DARK = (
    "<style>@media (prefers-color-scheme: dark) {"
    "text, text * { fill: #d5d9de !important }"
    "[style*='fill: #ffffff'] { fill: transparent !important }"
    "[style*='stroke: #000000'], [style*='stroke: #262626'] { stroke: #9aa1a9 !important }"
    "}</style>"
)
"""In the head of a figure: its axes and texts are light where the page is dark."""


@dataclass(frozen=True)
class Report:
    """What a page shows."""

    title: str
    verdict: str
    """The first sentence: what it came to."""
    tone: Tone
    sections: Sequence[Section]
    made: str
    """When and by which version."""


def render(report: Report) -> str:
    """The HTML of a report."""
    style = (files("cli_ray.report") / "page.css").read_text()
    policy = content_policy(style)
    return _environment().get_template("page.html").render(report=report, style=style, policy=policy)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cli_ray.report", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"kind": _kind, "image": _image, "drawing": _drawing, "clean": clean}
    return environment


def _kind(part: object) -> str:
    """Of a part of a section, how the template shows it."""
    kinds = {str: "text", Table: "table", Figure: "figure", Code: "code"}
    return kinds.get(type(part), "cards")


def _image(picture: bytes) -> str:
    """The URI of the picture of a card."""
    kind = "png" if picture.startswith(b"\x89PNG") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _drawing(figure: Figure) -> str:
    """The URI of a figure that follows the light or dark of the page."""
    begin = figure.svg.index(">", figure.svg.index("<svg")) + 1
    svg = figure.svg[:begin] + DARK + figure.svg[begin:]
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
