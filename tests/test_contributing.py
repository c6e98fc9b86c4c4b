"""CONTRIBUTING.md: its diffs apply to a copy of the tree, and what they add works there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
DIFFS: dict[str, str] = dict(
    re.findall(r"^### A (.+?)\n(?:(?!^### ).)*?^```diff\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
)
CODE = sorted({name for diff in DIFFS.values() for name in re.findall(r"^\+\+\+ b/(.+\.py)$", diff, re.MULTILINE)})


def run(tree: Path, *words: str, stdin: str = "") -> str:
    """The output of a command in a tree, which is the message when it fails."""
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}  # else git applies to a repository above
    done = subprocess.run(words, cwd=tree, input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with all diffs."""
    folder = tmp_path_factory.mktemp("contributing")
    for name in ("cli_ray", "evals", "jobs", "tests"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    for diff in DIFFS.values():
        run(folder, "git", "apply", stdin=diff)
    return folder


def test_the_ladder_is_that_of_the_imports() -> None:
    [ladder] = re.findall(r"^```text\n(config <-.+?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    assert " ".join(ladder.split()) in " ".join((ROOT / "tests/test_imports.py").read_text().split())


def test_the_table_counts_the_files_that_a_diff_touches() -> None:
    table = dict(re.findall(r"^\| a (.+?) \| (\d+ new, \d+ changed) \|", PAGE, re.MULTILINE))
    assert len(DIFFS) == 6
    for name, diff in DIFFS.items():
        new = diff.count("--- /dev/null\n")
        assert table[name] == f"{new} new, {diff.count('--- a/')} changed"


@pytest.mark.slow
def test_what_the_diffs_add_works(tree: Path) -> None:
    """And the tests of the repository hold with it that look at all benchmarks, modules and extras."""
    files = ("contributed", "test_imports", "evals/test_miniature", "evals/test_suite", "train/callbacks/test_trackers")
    chosen = ("-k", "contributed or test_imports or vqa-rad or test_suite or extras")
    quiet = ("-q", "--no-showlocals")
    run(tree, sys.executable, "-m", "pytest", *quiet, *chosen, *(f"tests/{name}.py" for name in files))


def test_the_command_line_offers_what_the_diffs_add(tree: Path) -> None:
    shown = run(tree, sys.executable, "-m", "cli_ray", "data", "check", "--help")
    assert "{auto,llava,llava_onevision,toy}" in shown
    assert "hf,captions}" in shown


@pytest.mark.parametrize("words", ["check", "format --check"])
def test_the_diffs_are_clean(tree: Path, words: str) -> None:
    run(tree, sys.executable, "-m", "ruff", *words.split(), "--no-cache", *CODE)
