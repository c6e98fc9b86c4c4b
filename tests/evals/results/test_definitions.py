"""Own benchmarks in output folders: kept, found again, never mixed up, and never run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Origin
from cli_ray.evals.results.compare import compare
from cli_ray.evals.results.definitions import Definitions
from cli_ray.evals.results.output import Output
from cli_ray.report.document import document
from cli_ray.storage.folder import Folder
from cli_ray.watch.results import read_results
from tests.evals.own.pictures import LETTERS, made_of, write_toml, write_tsv
from tests.evals.results.outputs import by_units, made, samples, write_output

IN_PYTHON = Origin("mine.py", "ab", module="mine")


def evaluated(folder: Path, *benchmarks: Benchmark) -> str:
    """An output in which each benchmark has a row and its definition."""
    scores = [1.0, 0.0] * 8 + [float(folder.name == "b")] * 4
    items = [replace(one, facets={"category": "warm"}) for one in samples(scores, per_unit=2)]
    found = {one.name: (one, items) for one in benchmarks}
    rows = write_output(folder, folder.name, found)
    (folder / "rows").mkdir()
    for one, row in zip(benchmarks, rows, strict=True):
        Definitions(Folder(str(folder))).keep(one)
        (folder / f"rows/{row.benchmark}.json").write_text(row.model_dump_json())
    return str(folder)


def both(folder: Path, *benchmarks: Benchmark) -> tuple[str, str]:
    return evaluated(folder / "a", *benchmarks), evaluated(folder / "b", *benchmarks)


def test_a_definition_is_kept_with_where_its_data_lies(tmp_path: Path) -> None:
    one = made_of(tmp_path, columns={"id": "index", "options": ["A", "B"]}, unit="category")
    definitions = Definitions(Folder(evaluated(tmp_path / "a", one)))
    kept = definitions.needed("colours")
    assert (kept.data, kept.headline, kept.columns) == (f"{tmp_path}/colours.tsv", "units", one.columns)
    doc = dict.fromkeys(one.columns, "x") | {"answer": "A"}
    assert kept.prompt(doc) == one.prompt(doc)
    assert kept.score(doc, "A") == one.score(doc, "A")


def test_the_same_definition_elsewhere_is_the_same_benchmark(tmp_path: Path) -> None:
    definitions = Definitions(Folder(evaluated(tmp_path / "a", made_of(tmp_path))))
    definitions.keep(made_of(tmp_path / "moved", title="Colours", notes=[], references={"Chance": 25}))
    assert definitions.needed("colours").data == f"{tmp_path}/moved/colours.tsv"


@pytest.mark.parametrize("other", [{"prompt": "{question}"}, {"columns": {"options": ["A", "B"]}}])
def test_another_one_under_its_name_is_refused_once_there_are_results(other: dict[str, Any], tmp_path: Path) -> None:
    definitions = Definitions(Folder(evaluated(tmp_path / "a", made_of(tmp_path))))
    with pytest.raises(UserError, match="results of another benchmark 'colours' than"):
        definitions.keep(made_of(tmp_path, **other))
    (tmp_path / "a/rows/colours.json").unlink()  # it was stopped before it had any
    definitions.keep(made_of(tmp_path, **other))


def test_rows_of_own_benchmarks_come_after_ours(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "a", made("zebra"), made("pope"), made("apples"), made("ai2d"))
    output = Output(EvaluationConfig(model="m", output=folder), "hash of a")
    assert [row.benchmark for row in output.rows] == ["ai2d", "pope", "apples", "zebra"]


def test_means_compare_without_their_definitions(tmp_path: Path) -> None:
    folders = both(tmp_path, made_of(tmp_path), made("lengths", origin=IN_PYTHON))
    found = compare(*folders)
    assert [(one.benchmark, one.difference) for one in found.contrasts] == [("colours", 20), ("lengths", 20)]
    for folder in folders:
        assert read_results(folder).state == "ended"
        (Path(folder) / "benchmarks/colours.toml").write_text("name = ")
    with pytest.raises(UserError, match="not valid TOML"):
        compare(*folders)


def test_a_kept_definition_says_how_units_compare(tmp_path: Path) -> None:
    (one,) = compare(*both(tmp_path, made_of(tmp_path, unit="category"))).contrasts
    assert (one.metric, one.a, one.b) == ("units", 0, 20)


def test_code_in_a_folder_of_results_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = by_units("pairs", origin=IN_PYTHON)
    folders = both(tmp_path, pairs)
    for folder in folders:
        (Path(folder) / "benchmarks/pairs.py").write_text("raise SystemExit('run')")
    assert main(["compare", *folders]) == 1
    assert "pairs in " in (said := capsys.readouterr().err)
    assert "was defined in Python, and code in a folder of results is not run: name its file with" in said
    [contrast] = compare(*folders, own={"pairs": pairs}).contrasts
    assert contrast.metric == "all right"
    with pytest.raises(UserError, match="results of another benchmark 'pairs' than"):
        compare(*folders, own={"pairs": replace(pairs, origin=replace(IN_PYTHON, digest="cd"))})
    assert "defined in Python" in json.dumps(told(document(folders)))


def test_an_installed_package_is_asked_for_the_benchmarks_that_it_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = by_units("pairs", origin=IN_PYTHON)
    folders = both(tmp_path, pairs)
    monkeypatch.setattr("cli_ray.evals.results.definitions.plugged_in", lambda: {"pairs": pairs})
    [contrast] = compare(*folders).contrasts
    assert contrast.metric == "all right"


def test_what_a_folder_of_somebody_else_holds_harms_nothing(tmp_path: Path) -> None:
    definitions = Definitions(Folder(evaluated(tmp_path / "a", made("lengths", origin=IN_PYTHON))))
    for text in ("{", "[1]", '{"digest": 3}'):
        (tmp_path / "a/benchmarks/lengths.json").write_text(text)
        assert definitions.digest("lengths") in ("", "3")
    write_toml(tmp_path, LETTERS, "colours.toml")
    for name in ("../../colours", "a/b"):
        with pytest.raises(UserError, match="code in a folder of results is not run"):
            definitions.needed(name)


def told(report: Any) -> list[str]:
    """The texts of a report."""
    return [part for section in report.sections for part in section.parts if isinstance(part, str)]


def test_different_definitions_do_not_compare(tmp_path: Path) -> None:
    a = evaluated(tmp_path / "a", made_of(tmp_path))
    b = evaluated(tmp_path / "b", made_of(tmp_path, prompt="{question}"))
    with pytest.raises(UserError, match="colours: A and B were evaluated on different definitions of that name"):
        compare(a, b)


def test_watching_knows_own_benchmarks_before_they_have_records(tmp_path: Path) -> None:
    write_tsv(tmp_path)
    for one in (made_of(tmp_path), made("lengths", origin=IN_PYTHON)):
        Definitions(Folder(str(tmp_path / "a"))).keep(one)
    config: Mapping[str, object] = {"suite": "paper18", "benchmarks": ["pope"], "benchmark_file": ["mine.toml"]}
    (tmp_path / "a/config.json").write_text(json.dumps(config))
    names = [benchmark.name for benchmark in read_results(str(tmp_path / "a")).benchmarks]
    assert names == ["pope", "colours", "lengths"]
