"""The section of a sweep in a report: figures, tables and what the best trial changed."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli_ray.report.section import Figure, Section, Table
from cli_ray.report.sweep import sweep_section
from cli_ray.watch.sweeps import read_sweep
from tests.watch.folders import event, trial, write_run, write_sweep

HOSTILE = "</style><script>alert(1)</script> $\\frac{1$ \x1b[2J"


def section_of(folder: Path) -> Section:
    return sweep_section(read_sweep(str(folder)))


def tables(section: Section) -> dict[str, Table]:
    return {part.caption: part for part in section.parts if isinstance(part, Table)}


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Section:
    """Of a sweep that has ended."""
    folder = tmp_path_factory.mktemp("search")
    write_ended(folder)
    return section_of(folder)


def write_ended(folder: Path) -> None:
    """Three trials: one that finished, one that was stopped early, one that failed."""
    trials = [
        trial("b", "stopped", 3.0, 8, 1e-4),
        trial("a", "finished", 1.5, 4, 1e-3),
        trial("c", "failed", None, 8, 1e-2, reason=HOSTILE),
    ]
    shares = {"validation_loss": {"optim.llm.lr": 0.75, "injection.amp.rank": 0.25}}
    write_sweep(folder, {"front": ["a"], "importance": shares, "trials": trials})
    write_run(folder / "trials/b", events=[event("stopped early", 9, reason="by the scheduler of the sweep")])
    (folder / "best.toml").write_text("")


def test_a_sweep_that_has_ended_is_told_from_its_folder_alone(section: Section) -> None:
    assert section.summary == (
        "The sweep is ended: 3 trials, 1 stopped, 1 finished, 1 failed. "
        "The best is a with validation_loss 1.5, eval/pope 48.5."
    )
    found = tables(section)
    assert [row[:2] for row in found["All trials, the best in the first objective first."].rows] == [
        ["a", "finished"], ["b", "stopped"], ["c", "failed"],
    ]  # fmt: skip
    assert found["Trials that were stopped early."].rows == [["b", "by the scheduler of the sweep", "40"]]
    assert found["Trials that failed."].rows == [["c", HOSTILE, "40"]]
    assert found["What the best trial, a, changed of the base."].rows == [
        ["optim.llm.lr", "0", "0.001"], ["injection.amp.rank", "16", "4"],
    ]  # fmt: skip
    assert str(section.parts[-1]).startswith("Its whole config is best.toml in the folder of the sweep: cli-ray train ")


def test_each_figure_is_an_svg_with_its_data_beside_it(section: Section) -> None:
    figures = [part for part in section.parts if isinstance(part, Figure)]
    assert [figure.name for figure in figures] == ["sweep-trials", "sweep-importance", "sweep-front"]
    for figure in figures:
        assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
        assert figure.table.rows
    assert figures[1].table.rows[0] == ["validation_loss", "optim.llm.lr", "0.75"]


def test_a_sweep_that_goes_on_has_no_figure_before_a_trial_is_over(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    assert section_of(tmp_path).summary == "No trial has begun. None has a value of validation_loss."
    run = write_run(tmp_path / "trials/a", events=[event("validation", 3, step=3, loss=1.0)])
    section = section_of(tmp_path)
    assert section.summary == ("The sweep is silent: 1 trials, 1 not started. The best is a with validation_loss 1.")
    run.write("outcome.json", json.dumps({"state": "finished", "reason": "", "step": 3, "validation_loss": 1.0}))
    names = [part.name for part in section_of(tmp_path).parts if isinstance(part, Figure)]
    assert names == []  # its rank of 16 is none of the space
    stored = json.loads(run.read("config.json") or "")
    stored["injection"]["amp"]["rank"], stored["optim"]["llm"]["lr"] = 8, 1e-3
    run.write("config.json", json.dumps(stored))
    names = [part.name for part in section_of(tmp_path).parts if isinstance(part, Figure)]
    assert names == ["sweep-trials", "sweep-front"]


def test_hostile_names_of_arms_are_drawn_as_they_stand(tmp_path: Path) -> None:
    write_ended(tmp_path)
    stored = json.loads((tmp_path / "sweep.json").read_text())
    stored["sweep"] |= {"arms": {"$x^$<script>": {"seed": 1}}, "space": {}}
    (tmp_path / "sweep.json").write_text(json.dumps(stored))
    results = json.loads((tmp_path / "results.json").read_text())
    for one in results["trials"]:
        one["draw"] = {"arm": "$x^$<script>"}
    (tmp_path / "results.json").write_text(json.dumps(results))
    section = section_of(tmp_path)
    [figure] = [part for part in section.parts if isinstance(part, Figure) and part.name == "sweep-trials"]
    assert "<script>" not in figure.svg
    assert "$x^$&lt;script&gt;" in figure.svg
    assert tables(section)["What the best trial, a, changed of the base."].rows == [["seed", "0", "1"]]
