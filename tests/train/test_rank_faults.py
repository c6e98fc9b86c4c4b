"""What is said of errors of ranks, in Ray Train's controller."""

from pathlib import Path

import pytest

from cli_ray.train.ray_train import GUESSES, RankFaults
from cli_ray.train.run_folder import RunFolder
from tests.said import said

KILLED = f"A worker health check failed.\nWorker info: Worker(...)\nThe actor is dead.{GUESSES} (1) memory"


def test_errors_of_ranks_are_said_in_a_line_and_are_an_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RankFaults(str(tmp_path)).after_exception(None, {1: IndexError("index out of range"), 0: RuntimeError(KILLED)})
    reason = "rank 0: RuntimeError: The actor is dead.; rank 1: IndexError: index out of range"
    assert said(capsys.readouterr().out) == [f"a rank failed: {reason}"]
    [event] = RunFolder(str(tmp_path)).events()
    assert (event["event"], event["reason"]) == ("fault", reason)
