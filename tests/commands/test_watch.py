"""`cli-ray watch` where standard output is no terminal: a line for each change, or the view once."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli_ray.commands import main as command
from cli_ray.commands import watch
from cli_ray.train.run_folder import LEASE
from tests.watch.folders import event, step, write_run


def test_a_line_is_printed_for_each_change_until_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "a", [step(1, 1)], [event("begin", 0, steps=3)])
    run.write(LEASE, "{}")
    turns: Iterator[Callable[[], object]] = iter(
        [lambda: None, lambda: run.append("metrics.jsonl", [json.dumps(step(2, 2))]), lambda: run.event("end", step=3)]
    )
    monkeypatch.setattr(time, "sleep", lambda seconds: next(turns)())
    watch.main([run.uri, "--every", "2"])
    lines = [line.partition("run: ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(", at")[0] for line in lines] == [
        "running, step 1/3 (33%), loss 2",
        "running, step 2/3 (67%), 1.0 s left, loss 1",
        "ended, step 3/3 (100%)",
    ]


def test_once_prints_the_view_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", [step(1, 1)])
    run.write(LEASE, "{}")
    watch.main([run.uri, "--once"])
    out = capsys.readouterr().out
    assert out.startswith("run: running, step 1\n")
    assert "800 tokens/s" in out


def test_what_cannot_be_watched_is_refused_with_what_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["watch", str(tmp_path)]) == 1
    assert "name a run folder, the folder of a sweep, or the --output of an evaluation" in capsys.readouterr().err
