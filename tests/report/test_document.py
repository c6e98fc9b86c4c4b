"""Reports on runs that ended, failed, never began or are many, and on folders that are half there."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.index import build_index
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.suite import BENCHMARKS
from cli_ray.report.document import document
from cli_ray.report.page import Report
from cli_ray.report.section import Code, Figure, Table
from cli_ray.report.trends import MOST_BUCKETS, Trend, read_trends
from tests.evals.results.outputs import made, samples, write_output
from tests.report.folders import write_run


def figures(report: Report) -> dict[str, Figure]:
    parts = [part for section in report.sections for part in section.parts]
    return {part.name: part for part in parts if isinstance(part, Figure)}


def test_a_run_that_ended_has_its_curves_its_verdict_and_what_repeats_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", 40, end={"step": 40, "loss": 1.0}, train={"global_batch_size": 24})
    report = document([folder])
    assert (report.title, report.tone) == ("a", "good")
    assert report.verdict == "a: ended at step 40 with loss 1, validation loss 1.1."
    drawn = figures(report)
    assert {"loss", "validation-loss", "gradient-norm", "learning-rates", "tokens", "step-time", "memory"} <= set(drawn)
    assert {row[0] for row in drawn["loss"].table.rows} == {"all sources", "first", "second"}
    assert drawn["loss"].table.rows[-1][:2] == ["second", "40"]
    assert not [section.parts for section in report.sections if section.name == "fault"]
    titles = [section.title for section in report.sections]
    assert titles == ["Overview", "Loss", "Gates", "Speed and memory", "What happened", "Config and versions"]
    code, table = report.sections[-1].parts
    assert isinstance(code, Code)
    assert "global_batch_size = 24" in code.text
    assert isinstance(table, Table)
    assert ["train.global_batch_size", "24", "changed"] in [list(row) for row in table.rows]
    assert next(row for row in table.rows if row[0] == "train.epochs")[2] == ""


def test_a_run_that_failed_before_its_first_step_says_why(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "events.jsonl").write_text(
        '{"event": "start", "time": "2026-01-01T00:00:00.000+00:00"}\n'
        '{"event": "end", "time": "2026-01-01T00:00:09.000+00:00", "error": "no room on the GPU"}\n{"event": "x'
    )
    report = document([str(tmp_path / "a")])
    assert (report.verdict, report.tone) == ("a: failed: no room on the GPU", "bad")
    assert report.sections[-1].parts == [
        f"config.json cannot be read: {tmp_path}/a is not a run folder: it has no config.json"
    ]


def test_a_part_that_cannot_be_read_says_so_and_the_others_stand(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", 20)
    (tmp_path / "a" / "quarantine").mkdir()
    (tmp_path / "a" / "quarantine" / "rank0.jsonl").write_text('{"id": "x"}\n')
    (tmp_path / "a" / "environment.json").write_text("{")
    report = document([folder])
    broken = {section.title: section.parts[0] for section in report.sections if section.name == "fault"}
    assert str(broken["Quarantine"]) == "This part cannot be shown: KeyError: 'reason'"
    assert str(broken["Config and versions"]).startswith("This part cannot be shown: JSONDecodeError: ")
    assert "loss" in figures(report)


def test_quarantine_counts_lost_samples_once_and_shows_their_pictures(tmp_path: Path) -> None:
    (drawn,) = synthesize(1, 0, "train")
    write_tar([drawn], tmp_path / "data", shard_size=1)
    data = DataConfig(sources=(SourceConfig(path=str(tmp_path / "data"), name="first"),))
    folder = write_run(tmp_path / "a", 2, data=data.model_dump())
    (tmp_path / "a" / "index.json").write_text(build_index(data).to_json())
    lost = {"id": "shard-00000.tar#0", "source": "first", "where": "", "reason": "too long", "detail": "70 tokens"}
    gone = lost | {"id": "a.tar#7", "reason": "broken image", "samples": 3}
    (tmp_path / "a" / "quarantine").mkdir()
    for rank in range(2):
        own = gone | {"id": f"b.tar#{rank}", "samples": 1}
        lines = [json.dumps(line) for line in (lost, gone, own)]
        (tmp_path / "a" / "quarantine" / f"rank{rank}.jsonl").write_text("\n".join(lines) + "\n")
    (section,) = [section for section in document([folder]).sections if section.title == "Quarantine"]
    totals, cards = section.parts
    assert isinstance(totals, Table)
    assert totals.rows == [["broken image", "5"], ["too long", "1"]]
    assert isinstance(cards, list)
    assert [card.title for card in cards[:1] + cards[-1:]] == ["broken image: a.tar#7", "too long: shard-00000.tar#0"]
    assert [card.picture is None for card in cards] == [True, True, True, False]
    assert Image.open(BytesIO(cards[-1].picture)).size == (32, 32)


def test_twenty_runs_stand_side_by_side(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"r{number}", 20, seed=number) for number in range(20)]
    report = document(folders)
    assert report.verdict == "20 runs: 20 silent."
    loss = next(part for part in report.sections[0].parts if isinstance(part, Figure) and part.name == "runs-loss")
    assert len({row[0] for row in loss.table.rows}) == 20
    (fields,) = report.sections[1].parts
    assert isinstance(fields, Table)
    assert [row[0] for row in fields.rows] == ["seed"]
    assert list(fields.rows[0][1:4]) == ["0", "1", "2"]


def test_a_long_run_has_as_many_points_as_a_short_one() -> None:
    row = {"step": 0, "tokens/s": 5.0, "packs": 3}
    trends = read_trends(row | {"step": step, "loss": float(step)} for step in range(20_000))
    assert set(trends) == {"loss", "tokens/s"}
    buckets = trends["loss"].buckets
    assert MOST_BUCKETS / 2 <= len(buckets) <= MOST_BUCKETS
    assert (buckets[0].low, buckets[-1].high, buckets[-1].step) == (0, 19_999, 19_999)
    assert sum(bucket.count for bucket in buckets) == 20_000


def test_a_thinned_curve_keeps_its_peaks() -> None:
    trend = Trend()
    for step in range(10_000):
        trend.add(step, 100.0 if step == 4321 else 1.0)
    assert max(bucket.high for bucket in trend.buckets) == 100
    assert max(trend.smoothed()) < 5


def test_a_smoothed_constant_is_that_constant() -> None:
    trend = Trend()
    for step in range(300):
        trend.add(step, 2.0)
    assert trend.smoothed() == pytest.approx([2.0] * len(trend.buckets))


def test_the_verdict_on_results_is_their_paired_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy: Benchmark = made()
    monkeypatch.setitem(BENCHMARKS, toy.name, toy)
    for name, scores in (("a", [1.0] * 20 + [0.0] * 20), ("b", [1.0] * 40)):
        (tmp_path / name / "asked").mkdir(parents=True)
        write_output(tmp_path / name, f"models/{name}", {toy.name: (toy, samples(scores))})
    report = document([str(tmp_path / "a"), str(tmp_path / "b")])
    assert report.verdict.startswith("b against a: better on TOY, the difference is +50.00, 95 % interval +35.0")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty or not there"):
        document([str(tmp_path / "nothing")])
