"""The page of a report: what it allows, what becomes of hostile texts, and the files beside it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pyarrow import parquet

from cli_ray.errors import UserError
from cli_ray.report.document import document
from cli_ray.report.files import write_figures, write_page
from cli_ray.report.page import Report, render
from tests.report.folders import hostile_report, write_run


class Page(HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_texts_stay_texts() -> None:
    html = render(hostile_report())
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("style") == 1
    assert "alert(1)" in page.text
    assert "\x00" not in html
    assert "\x1b" not in html
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    html.encode()


def test_texts_of_either_direction_are_isolated() -> None:
    cells = re.findall(r"<td[^>]*>(.{5})", render(hostile_report()))
    assert set(cells) == {"<bdi>"}


def test_the_policy_allows_this_style_sheet_and_embedded_pictures_alone() -> None:
    html = render(hostile_report())
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policies = [attributes["content"] for tag, attributes in Page(html).tags if "http-equiv" in attributes]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    sources = [attributes["src"] or "" for tag, attributes in Page(html).tags if tag == "img"]
    assert all(source.startswith("data:image/") for source in sources)
    assert not [tag for tag, attributes in Page(html).tags if tag != "a" and "href" in attributes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("runs") / "a", 30)


@pytest.fixture(scope="module")
def report(folder: str) -> Report:
    return document([folder])


def test_every_figure_has_a_text_and_its_numbers(report: Report) -> None:
    page = Page(render(report))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == [tag for tag, _ in page.tags].count("details") == 15
    assert all(attributes["alt"] for attributes in images)


def test_the_page_lies_in_the_first_folder_unless_it_is_named(
    folder: str, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, size = write_page(report, "", folder)
    assert place == f"{folder}/report.html"
    assert Path(place).stat().st_size == size
    monkeypatch.chdir(tmp_path)
    assert write_page(report, "here.html", folder)[0] == "here.html"
    assert (tmp_path / "here.html").stat().st_size == size
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: .*; name another file with --output"):
        write_page(report, f"{tmp_path}/file/x.html", folder)


def test_figures_are_written_with_their_numbers(report: Report, tmp_path: Path) -> None:
    assert write_figures(report, str(tmp_path / "figures")) == 15
    assert (tmp_path / "figures" / "loss.svg").read_text().startswith("<svg")
    table = parquet.read_table(tmp_path / "figures" / "loss.parquet")
    assert table.column_names == ["line", "up to step", "least", "mean", "largest"]
    last = table.to_pylist()[29]
    assert (last["line"], last["up to step"], last["mean"]) == ("all sources", 30.0, 1.0)
