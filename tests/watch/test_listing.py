"""What `cli-ray runs` lists, as a table and as JSON."""

import json
from pathlib import Path

import pytest

from cli_ray.commands import runs
from cli_ray.train.run_folder import LEASE
from cli_ray.watch.listing import list_folder
from tests.watch.folders import event, row, step, trial, write_results, write_run, write_sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that ended, one that failed, one that goes on, a sweep with its trials, and results."""
    scores = [event("evaluation", 5, step=n, scores={"pope": value}) for n, value in ((1, 80.0), (2, 70.0))]
    ended = [event("begin", 0, steps=2), event("validation", 4, step=2, loss=1.5), *scores, event("end", 6, step=2)]
    write_run(tmp_path / "ended", [step(1, 1), step(2, 2)], ended)
    write_run(tmp_path / "failed", events=[event("end", 7, error="out of\nmemory")])
    write_run(tmp_path / "running", [step(1, 1)], [event("begin", 0, steps=9)]).write(LEASE, "{}")
    results = {"front": ["a"], "importance": {}, "trials": [trial("a", "finished", 1.25, 4, 1e-3)]}
    write_sweep(tmp_path / "sweeps/search", results)
    write_run(tmp_path / "sweeps/search/trials/a", [step(1, 1)])
    write_results(tmp_path / "out", {"pope": 10}, {"pope": 10}, {"pope": row("pope", 71.25)})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/config.json").write_text("{")
    return tmp_path


def test_runs_sweeps_and_results_are_listed_with_their_state_newest_first(folder: Path) -> None:
    entries = list_folder(str(folder))
    assert [entry.name for entry in entries if entry.kind == "run"] == ["running", "failed", "ended"]
    found = {
        entry.name: (entry.kind, entry.state, entry.step, entry.total, entry.loss, entry.validation_loss, entry.score)
        for entry in entries
    }
    assert found == {
        "running": ("run", "running", 1, 9, 2.0, None, ""),
        "failed": ("run", "failed", None, None, None, None, ""),
        "ended": ("run", "ended", 2, 2, 1.0, 1.5, "pope 80.00"),
        "sweeps/search": ("sweep", "ended", 1, 16, None, None, "validation_loss 1.25"),
        "out": ("results", "ended", 10, 10, None, None, "POPE 71.25 ± 1.25"),
    }


def test_a_folder_that_cannot_be_read_keeps_no_other_from_the_list(folder: Path) -> None:
    (folder / "sweeps/search/sweep.json").write_text("{")
    entries = {entry.name: entry for entry in list_folder(f"file://{folder}")}
    assert len(entries) == 5
    assert entries["sweeps/search"].state == "unreadable"
    assert "damaged" in entries["sweeps/search"].reason


def test_the_verb_prints_a_table_with_reasons_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.main([str(folder)])
    out = capsys.readouterr().out
    assert "| ended         | run     | ended" in out
    assert "failed failed: out of memory" in out
    runs.main([str(folder), "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert {"name": "failed", "state": "failed", "reason": "out of\nmemory"}.items() <= listed[-2].items()
    runs.main([str(folder / "nothing")])
    assert capsys.readouterr().out == f"no run, sweep or results below {folder / 'nothing'}\n"
