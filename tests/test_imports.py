"""Imports go one way: config <- data, model <- train, plan <- report <- commands."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cli_ray"
MAY_IMPORT = {
    "config": {"errors"},
    "data": {"config", "errors"},
    "model": {"config", "errors"},
    "plan": {"config", "errors", "model"},
    "train": {"config", "errors", "data", "model", "plan"},
    "commands": {"config", "errors", "data", "model", "plan", "train"},
}
USES_RAY = {"data/ray_rows.py", "train/environment.py", "train/trainer.py", "train/worker.py", "commands/comparison.py"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_stands_below_them(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("cli_ray.")}
        assert rooms <= MAY_IMPORT[room] | {room}, path


def test_every_room_is_on_the_ladder() -> None:
    rooms = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/**/*.py")}
    assert rooms == set(MAY_IMPORT)


def test_ray_is_used_in_few_places() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "ray" for name in imported(path))
    }
    assert users == USES_RAY


def test_no_file_is_too_long_to_read() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
