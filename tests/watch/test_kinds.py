"""Kinds of folders, whole and half-written."""

from pathlib import Path

import pytest

from cli_ray.errors import UserError
from cli_ray.watch.kinds import kind_of


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("events.jsonl", "", "run"),
        ("metrics.jsonl", "", "run"),
        ("base.json", "{}", "run"),
        ("config.json", '{"injection": {}}', "run"),
        ("sweep.json", "{", "sweep"),
        ("trials.parquet", "", "sweep"),
        ("asked/pope.json", "{", "results"),
        ("config.json", '{"suite": "paper18"}', "results"),
    ],
)
def test_a_single_file_tells_the_kind_of_a_folder(tmp_path: Path, name: str, content: str, kind: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    assert kind_of(str(tmp_path)) == kind
    assert kind_of(f"file://{tmp_path}") == kind


@pytest.mark.parametrize("content", [None, "{", '{"architectures": []}'])
def test_another_folder_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="name a run folder, the folder of a sweep, or the --output of an evaluation"):
        kind_of(str(tmp_path))


def test_a_folder_above_others_is_none_of_them(tmp_path: Path) -> None:
    for name in ("checkpoints", "records", "rows"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="holds no run, no sweep and no results"):
        kind_of(str(tmp_path))


def test_a_uri_of_no_known_kind_is_refused() -> None:
    with pytest.raises(UserError, match="name a path or a URI such as s3://"):
        kind_of("nowhere://x")
