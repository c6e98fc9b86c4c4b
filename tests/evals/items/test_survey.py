"""What is said of the data before any model is loaded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.eval import main as eval_main
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.items.sources import read
from cli_ray.evals.items.survey import LISTING, listing, require, survey
from cli_ray.evals.suite import BENCHMARKS, benchmark
from tests.evals.items.hub_cache import charts, png, write_jsonl, write_parquet


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """ChartQA with 200 items."""
    one = replace(benchmark("chartqa"), count=200)
    monkeypatch.setitem(BENCHMARKS, "chartqa", one)
    return one


def test_the_listing_has_every_benchmark() -> None:
    rows = {row[0]: dict(zip(LISTING, row, strict=True)) for row in listing(BENCHMARKS.values())}
    assert set(rows) == set(BENCHMARKS)
    assert rows["infovqa-val"]["dataset"] == "lmms-lab-encoder/DocVQA (InfographicVQA)"
    assert rows["vqav2-val"]["items"] == "214,354"
    scored_by = {name: rows[name]["scored by"] for name in ("mm-vet", "docvqa-test", "pope")}
    assert scored_by == {"mm-vet": "judge", "docvqa-test": "server", "pope": "rules"}


def test_what_is_there_is_counted_without_reading(
    tmp_path: Path, small: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(200))

    def fail(*args: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr("cli_ray.evals.items.tables.rows", fail)
    (finding,) = survey([small], str(tmp_path), miniature=False)
    assert (finding.state, finding.expected, finding.found) == ("there", 200, 200)
    assert str(finding) == f"chartqa: 200 items in {tmp_path}/chartqa"


def test_counts_are_those_after_leaving_rows_out(tmp_path: Path) -> None:
    one = benchmark("seed-image")
    texts: dict[str, Any] = dict.fromkeys(one.columns, "x")
    rows = [texts | {"data_type": kind, "image": [png()]} for kind in ("image", "video", "image")]
    write_parquet(tmp_path / "seed-image/a.parquet", rows)
    (finding,) = survey([one], str(tmp_path), miniature=False)
    assert (finding.state, finding.expected, finding.found) == ("partial", 14233, 2)


def test_all_faults_come_in_one_error(tmp_path: Path, small: Benchmark) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(3))
    write_parquet(tmp_path / "pope/a.parquet", charts(3))
    with pytest.raises(UserError) as caught:
        require([small, benchmark("pope"), benchmark("mme")], str(tmp_path), miniature=False, limit=None)
    message = str(caught.value)
    assert "the data of 3 of 3 benchmarks is not as it should be" in message
    assert f"- chartqa: expected 200 items, found 3 in {tmp_path}/chartqa" in message
    assert "lacks the columns question_id, category; it has question, answer, type, image" in message
    assert f"- mme: no folder {tmp_path}/mme or {tmp_path}/MME" in message
    assert "--benchmarks" in message


def test_a_wrong_count_is_an_error_with_a_limit_too(tmp_path: Path, small: Benchmark) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(199))
    with pytest.raises(UserError, match="expected 200 items, found 199"):
        require([small], str(tmp_path), miniature=False, limit=5)


def test_a_part_of_a_set_is_taken_where_it_is_allowed(tmp_path: Path, small: Benchmark) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(150))
    (finding,) = survey([small], str(tmp_path), miniature=False)
    assert (finding.state, finding.stands_in_the_way(allow_partial=False)) == ("partial", True)
    assert str(finding).endswith(
        "complete the files of lmms-lab-encoder/ChartQA, or take the part with --allow-partial"
    )
    assert not finding.stands_in_the_way(allow_partial=True)
    located = require([small], str(tmp_path), miniature=False, limit=140, allow_partial=True)
    assert sum(part.rows for part in located["chartqa"].parts) == 140


@pytest.mark.parametrize(("count", "fix"), [(201, "take out what is not in"), (0, "put in")])
def test_more_than_a_set_or_nothing_of_it_is_no_part(tmp_path: Path, small: Benchmark, count: int, fix: str) -> None:
    write_jsonl(tmp_path / "chartqa/a.jsonl", charts(count, image="a.png"))
    with pytest.raises(
        UserError, match=f"expected 200 items, found {count} in .*: {fix} the files of lmms-lab-encoder"
    ):
        require([small], str(tmp_path), miniature=False, limit=None, allow_partial=True)


def test_a_thorough_look_at_a_part_finds_what_is_wrong_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(benchmark("chartqa"), count=9, sample_id=lambda doc, row: str(doc["answer"]))
    monkeypatch.setitem(BENCHMARKS, "chartqa", one)
    write_parquet(tmp_path / "chartqa/a.parquet", charts(4))
    looks = {"data_root": str(tmp_path), "miniature": False, "thorough": True, "allow_partial": True}
    assert survey([one], **looks)[0].state == "partial"  # type: ignore[arg-type]
    write_parquet(tmp_path / "chartqa/b.parquet", charts(4))
    (finding,) = survey([one], **looks)  # type: ignore[arg-type]
    assert finding.state == "duplicate ids"
    assert finding.stands_in_the_way(allow_partial=True)


def test_the_check_says_what_a_part_is_and_how_it_is_taken(
    tmp_path: Path, small: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(150))
    words = ["--check", "--benchmarks", "chartqa", "--data-root", str(tmp_path)]
    with pytest.raises(UserError, match="the data of 1 of 1 benchmarks are not as they should be: chartqa"):
        eval_main(words)
    assert capsys.readouterr().out.startswith("partial       chartqa: expected 200 items, found 150 in ")
    eval_main([*words, "--allow-partial"])
    assert capsys.readouterr().out.endswith("chartqa; its row will say that it is not the official set\n")


@pytest.mark.parametrize(
    ("limit", "rows"), [(None, [128, 72]), (500, [128, 72]), (130, [128, 2]), (128, [128]), (1, [1])]
)
def test_a_limit_cuts_the_parts(tmp_path: Path, small: Benchmark, limit: int | None, rows: list[int]) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(200), group_rows=200)
    located = require([small], str(tmp_path), miniature=False, limit=limit)
    assert [part.rows for part in located["chartqa"].parts] == rows


@pytest.mark.parametrize(("limit", "numbers"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 3]), (9, [0, 1, 3, 4])])
def test_a_limit_counts_the_items_of_the_benchmark(limit: int, numbers: list[int]) -> None:
    located = require([benchmark("seed-image")], "", miniature=True, limit=limit)["seed-image"]
    assert [number for part in located.parts for number, _ in read(located, part)] == numbers


def test_the_bundled_items_are_as_many_as_they_are() -> None:
    for finding in survey(BENCHMARKS.values(), "", miniature=True, thorough=True):
        assert finding.state == "there", str(finding)
        assert 4 <= finding.found == finding.expected <= 8


def test_a_thorough_look_finds_images_that_are_not_there(tmp_path: Path, small: Benchmark) -> None:
    rows = charts(200, image="a.png")
    for row in (7, 8, 9, 10):
        rows[row]["image"] = "gone.png"
    write_jsonl(tmp_path / "chartqa/a.jsonl", rows)
    (tmp_path / "chartqa/a.png").write_bytes(png())
    assert survey([small], str(tmp_path), miniature=False)[0].state == "there"
    (finding,) = survey([small], str(tmp_path), miniature=False, thorough=True)
    assert finding.state == "bad items"
    assert "4 of 200 items cannot be asked or scored: 7 (row 7): missing image: image: 'gone.png'" in finding.detail
    assert finding.detail.endswith("; ...")


def test_a_thorough_look_finds_ids_that_occur_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(benchmark("chartqa"), count=4, sample_id=lambda doc, row: str(doc["answer"]))
    monkeypatch.setitem(BENCHMARKS, "chartqa", one)
    write_parquet(tmp_path / "chartqa/a.parquet", charts(2))
    write_parquet(tmp_path / "chartqa/b.parquet", charts(2))
    (finding,) = survey([one], str(tmp_path), miniature=False, thorough=True)
    assert finding.state == "duplicate ids"
    assert "rows 0 and 2 have the same id '0'" in finding.detail


def test_a_thorough_look_finds_rows_that_cannot_be_read(tmp_path: Path, small: Benchmark) -> None:
    path = write_parquet(tmp_path / "chartqa/a.parquet", charts(200))
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)  # pages of data; the footer stays whole
    path.write_bytes(bytes(content))
    assert survey([small], str(tmp_path), miniature=False)[0].state == "there"
    (finding,) = survey([small], str(tmp_path), miniature=False, thorough=True)
    assert finding.state == "unreadable"
    assert "a.parquet: rows from 0 on cannot be read" in finding.detail
