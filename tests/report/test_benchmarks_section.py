"""The section on benchmarks: of one output, of several, of older and of hostile ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq
import pytest

from cli_ray.evals.benchmark import ScoredItem
from cli_ray.evals.results.samples import ASKED, AskedItem
from cli_ray.evals.suite import BENCHMARKS
from cli_ray.report.benchmarks import FAILURES, FLIPS, benchmarks
from cli_ray.report.samples import LONGEST
from cli_ray.report.section import Card, Figure, Section, Table
from tests.evals.results.outputs import by_units, made, samples, write_output

TOY, PAIRS = made(references={"LLaVA": 40.0}), by_units(full_marks=2000)
HOSTILE = "<script>alert(1)</script></style>\u202e\x1b[31m"
T = TypeVar("T")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up benchmarks are known by name."""
    for one in (TOY, PAIRS):
        monkeypatch.setitem(BENCHMARKS, one.name, one)


def output(folder: Path, scores: Sequence[float], name: str = "toy", **changes: object) -> str:
    folder.mkdir(exist_ok=True)
    one = TOY if name == "toy" else PAIRS
    found = samples(scores, per_unit=1 if name == "toy" else 2)
    write_output(folder, folder.name, {name: (one, found)}, **changes)  # type: ignore[arg-type]
    return str(folder)


def of(kind: type[T], section: Section) -> list[T]:
    return [part for part in section.parts if isinstance(part, kind)]


def cards(section: Section) -> list[Card]:
    return [card for part in section.parts if not isinstance(part, str | Table | Figure) for card in part]


def test_one_output_has_its_table_and_scores_with_published_ones(tmp_path: Path) -> None:
    section = benchmarks([output(tmp_path / "a", [1.0, 0.0, 1.0, 1.0])])
    (table,) = of(Table, section)
    assert table.rows[0][:4] == ["TOY", "accuracy", "75.00 ± 25.00", "4/4"]
    (figure,) = of(Figure, section)
    assert figure.table.rows == [["TOY", "75", "26", "124", "40"]]
    assert ">LLaVA<" in figure.svg
    assert cards(section) == []


def test_rivals_are_compared_with_the_first_and_corrected_together(tmp_path: Path) -> None:
    right, wrong = [1.0] * 40, [1.0] * 20 + [0.0] * 20
    folders = [output(tmp_path / name, scores) for name, scores in (("a", wrong), ("b", right), ("c", wrong))]
    section = benchmarks(folders)
    tables = [table for table in of(Table, section) if "p Holm" in table.head]
    assert [table.caption for table in tables] == ["b minus a", "c minus a"]
    assert [row[4:9] for table in tables for row in table.rows] == [
        ["+50.00", "+35.00 to +67.50", "< 0.001", "20/0", "40"],
        ["+0.00", "+0.00 to +0.00", "1.000", "0/0", "40"],
    ]
    forests = [figure for figure in of(Figure, section) if figure.name.startswith("differences")]
    assert [figure.table.rows[0][1] for figure in forests] == ["50", "0"]
    shown = cards(section)
    assert len(shown) == 20
    assert {card.tone for card in shown} == {"good"}
    assert ("a", "a says 0.0") in shown[0].fields


def test_gains_and_losses_are_shown_alike_and_pictures_come_first(tmp_path: Path) -> None:
    a, b = [1.0, 0.0] * 300, [0.0, 1.0] * 300
    section = benchmarks([output(tmp_path / name, scores) for name, scores in (("a", a), ("b", b))])
    shown = cards(section)
    assert len(shown) == FLIPS
    assert [card.tone for card in shown].count("good") == FLIPS // 2
    assert f"{FLIPS} of 600 samples whose score differs" in "".join(of(str, section))


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    folders = [output(tmp_path / "a", [1.0] * 4), output(tmp_path / "b", [1.0] * 4, "pairs")]
    text = " ".join(of(str, benchmarks(folders)))
    assert "cannot be compared with" in text
    assert "have no benchmark in common" in text


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    folder = tmp_path / "faulty"
    folder.mkdir()
    states = ["error", "unparsed", "truncated", "ok"] * 100
    found = [
        ScoredItem(f"{HOSTILE}{number}", 0.0, HOSTILE, HOSTILE, state, truncated=state == "truncated")  # type: ignore[arg-type]
        for number, state in enumerate(states)
    ]
    asked = AskedItem(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), b"R" * 100)
    write_output(folder, HOSTILE, {"toy": (TOY, found)}, asked=asked, reply="x" * 100_000)
    return folder


def test_faults_are_shown_with_their_number_and_texts_are_cut(faulty: Path) -> None:
    section = benchmarks([str(faulty)])
    shown = cards(section)
    assert len(shown) == FAILURES
    assert f"{FAILURES} of 300 samples that failed" in "".join(of(str, section))
    assert {card.title.rsplit(" ", 1)[-1] for card in shown} == {"failed", "read", "cut"}
    for card in shown:
        fields = dict(card.fields)
        assert (fields["question"], fields["gold answer"], fields["rule"]) == (HOSTILE, HOSTILE, HOSTILE)
        assert fields["reply"] == "x" * LONGEST + "… (99,000 more characters)"
        assert card.picture == b"R" * 100


def test_outputs_of_an_older_version_are_shown_without_what_they_lack(faulty: Path) -> None:
    path = faulty / "samples/toy.parquet"
    pq.write_table(pq.read_table(path).drop_columns(list(ASKED)), path)
    shown = cards(benchmarks([str(faulty)]))
    assert len(shown) == FAILURES
    assert {card.picture for card in shown} == {None}
    assert not any("question" in dict(card.fields) for card in shown)


def test_labels_are_no_mathematics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "toy", made(title="$\\frac{$ <b>"))
    one = BENCHMARKS["toy"]
    write_output(tmp_path, "m", {"toy": (one, samples([1.0, 0.0]))})
    (figure,) = of(Figure, benchmarks([str(tmp_path)]))
    assert "&lt;b&gt;" in figure.svg
