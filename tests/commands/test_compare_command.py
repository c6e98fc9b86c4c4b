"""`cli-ray compare` prints what was found and writes files only when asked."""

import json
from pathlib import Path

import pytest

from cli_ray.commands.compare import main
from cli_ray.errors import UserError
from cli_ray.evals.suite import BENCHMARKS
from tests.evals.results.outputs import made, samples, write_output


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two output folders of a made-up benchmark."""
    monkeypatch.setitem(BENCHMARKS, "toy", made())
    for name, scores in (("a", [1.0, 0, 0, 0]), ("b", [1.0, 1, 1, 0])):
        (tmp_path / name).mkdir()
        write_output(tmp_path / name, name, {"toy": (made(), samples(scores))})
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_prints_a_table_and_flips(outputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*outputs, "--flips", "1"])
    table, flips = capsys.readouterr().out.split("\nflips, A -> B:\n")
    assert "| TOY       | accuracy | 25.00 | 75.00 |" in table
    assert flips.splitlines() == ['toy 0001: 0 -> 1: "a says 0" -> "b says 1"', "toy: 1 more flips"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_prints_json_and_writes_files(outputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*outputs, "--json", "--output", str(tmp_path / "new")])
    printed = json.loads(capsys.readouterr().out)
    assert printed["contrasts"][0]["difference"] == 50
    assert json.loads((tmp_path / "new" / "comparison.json").read_text()) == printed
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"comparison.md", "comparison.json", "flips.jsonl"}


def test_several_are_compared_with_the_first(
    outputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c").mkdir()
    write_output(tmp_path / "c", "c", {"toy": (made(), samples([0.0, 0, 0, 0]))})
    words = [*outputs, str(tmp_path / "c"), "--output", str(tmp_path / "new")]
    main(words)
    assert "B: b (" in (shown := capsys.readouterr().out)
    assert "B: c (" in shown
    main([*words, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert [each["model_b"] for each in printed] == ["b", "c"]
    assert [each["contrasts"][0]["p_holm"] for each in printed] == [1, 1]
    assert json.loads((tmp_path / "new" / "2" / "comparison.json").read_text()) == printed[1]


def test_a_folder_without_results(outputs: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results"):
        main([outputs[0], str(tmp_path)])
