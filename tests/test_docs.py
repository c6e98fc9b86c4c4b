"""README and docs/: they are up to date, their links lead somewhere, and what they show can be used."""

import re
import shlex
from pathlib import Path

import pytest

from cli_ray.commands.tune import load_sweep
from cli_ray.tune.sweep import check_objectives
from tests.docs import DOCS, ROOT, on_page_markdown, renewed

README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("cluster/*/README.md")])
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code, in which `#` and brackets mean other things."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def fenced(page: Path) -> dict[str, str]:
    """The TOML files that a page shows, by the name in their first line."""
    return dict(re.findall(r"```toml\n# (\w+\.toml)\n(.*?)```", page.read_text(), re.DOTALL))


@pytest.mark.parametrize("page", renewed(), ids=lambda page: page.stem)
def test_the_generated_parts_are_fresh(page: Path) -> None:
    assert page.read_text() == renewed()[page], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if "://" not in target:
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_pages_of_the_site_link_to_no_file_outside_it() -> None:
    text = "The [page](../cluster/docker/README.md) and the [data](data.md#order) of [`a.py`](../cli_ray/a.py)"
    assert on_page_markdown(text) == "The page and the [data](data.md#order) of `a.py`"


def test_the_readme_is_short_and_its_first_command_comes_early() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 200
    assert max(i for i, line in enumerate(lines, 1) if line.startswith(("make demo", "make test"))) <= 20


@pytest.mark.parametrize("page", [README, DOCS / "sweeps.md"], ids=lambda page: page.stem)
def test_the_sweep_fits_the_run(page: Path, tmp_path: Path) -> None:
    shown = fenced(README) | fenced(page)
    assert set(shown) == {"run.toml", "sweep.toml"}
    for name, text in shown.items():
        (tmp_path / name).write_text(text)
    check_objectives(*load_sweep(str(tmp_path / "sweep.toml"), []))


def test_the_command_for_jobs_is_split_by_a_shell_as_it_should_be() -> None:
    lines = (DOCS / "clusters.md").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("job=")]
    [assigned] = shlex.split(line.replace("$commit", "abc-dirty"))
    assert assigned.removeprefix("job=").split()[-2:] == ["--metadata-json", '{"commit":"abc-dirty"}']
