"""A round of the drill with hostile inputs: every kind of it, each in turn."""

import pytest

from tests.drills import hostile


@pytest.mark.slow
def test_hostile_inputs_end_as_holes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["hostile", "--inputs", "1", "--seed", "1"])
    code, said = hostile.main(), capsys.readouterr().out
    assert code == 0, said
    assert "0 faults" in said
