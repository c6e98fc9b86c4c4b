"""Two evaluations compared: what is paired, what is left out, and what the numbers must be."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Profile, ScoredItem
from cli_ray.evals.results.compare import Comparison, Flip, compare, flip_lines, markdown, write
from cli_ray.evals.results.statistics import mcnemar
from cli_ray.evals.suite import BENCHMARKS
from tests.evals.results.outputs import by_units, judged, made, sample, samples, write_output

TOY, PAIRS, JUDGED = made(), by_units(full_marks=2000), judged()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up benchmarks are known by name."""
    for one in (TOY, PAIRS, JUDGED):
        monkeypatch.setitem(BENCHMARKS, one.name, one)


def both(
    folder: Path, benchmark: Benchmark, a: Sequence[ScoredItem], b: Sequence[ScoredItem], **changes: Any
) -> tuple[str, str]:
    """Two outputs of one benchmark; `changes` are of B."""
    for name, found in (("a", a), ("b", b)):
        (folder / name).mkdir(exist_ok=True)
        write_output(folder / name, name, {benchmark.name: (benchmark, found)}, **(changes if name == "b" else {}))
    return str(folder / "a"), str(folder / "b")


def drawn(seed: int, count: int) -> list[float]:
    """Right and wrong at random."""
    return [float(one) for one in np.random.default_rng(seed).integers(0, 2, count)]


def test_right_and_wrong_by_mcnemar(tmp_path: Path) -> None:
    a, b = [1.0] * 20 + [0.0] * 20, [1.0] * 18 + [0.0] * 10 + [1.0] * 12
    found = compare(*both(tmp_path, TOY, samples(a), samples(b)))
    (one,) = found.contrasts
    assert (one.a, one.b, one.difference) == (50, 75, 25)
    assert (one.wins, one.losses, one.ties, one.n, one.clusters) == (12, 2, 26, 40, 40)
    assert one.p == one.p_holm == mcnemar(12, 2).p
    assert one.test == "McNemar, exact"
    assert one.low is not None
    assert one.high is not None
    # Standard error of the mean of 12 x 1, 2 x -1, 26 x 0: 8.8 points.
    assert one.low == pytest.approx(25 - 1.96 * 8.6, abs=1.5)
    assert one.high == pytest.approx(25 + 1.96 * 8.6, abs=1.5)
    assert (found.model_a, found.model_b, found.profile) == ("a", "b", "lmms-eval/0.7.3")


def test_clusters_widen_the_interval_and_are_swapped_whole(tmp_path: Path) -> None:
    a, b = [0.0] * 60, ([1.0] * 6 + [0.0] * 6) * 5
    alone, clustered = (
        compare(*both(tmp_path, TOY, samples(a, per_cluster=n), samples(b, per_cluster=n))).contrasts[0] for n in (1, 6)
    )
    assert (alone.test, clustered.test) == ("McNemar, exact", "permutation, exact")
    assert (alone.p, clustered.p) == (2 / 2**30, 2 / 2**5)
    assert (clustered.high or 0) - (clustered.low or 0) > 2 * ((alone.high or 0) - (alone.low or 0))


def test_partial_scores_are_permuted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.random(200)
    found = compare(*both(tmp_path, TOY, samples(a.tolist()), samples((a * 0.9).tolist())))
    (one,) = found.contrasts
    assert one.test == "permutation, 10,000 swaps"
    assert one.p == 1 / 10_001
    assert (one.wins, one.losses) == (0, 200)


def test_headlines_that_are_no_means(tmp_path: Path) -> None:
    a, b = drawn(1, 60), drawn(2, 60)
    folders = both(tmp_path, PAIRS, samples(a, 2, 2), samples(b, 2, 2))
    (one,) = compare(*folders).contrasts
    values = [100 / 30 * sum(x * y for x, y in zip(side[::2], side[1::2], strict=True)) for side in (a, b)]
    assert [one.a, one.b] == pytest.approx(values)
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.difference < one.high
    assert one.test == "permutation, 10,000 swaps"
    assert 0.2 < one.p <= 1
    assert compare(*folders).contrasts[0] == one
    better = compare(*both(tmp_path, PAIRS, samples([0.0] * 40, 2, 2), samples([1.0] * 40, 2, 2))).contrasts[0]
    assert better.difference == 100
    assert better.p < 0.001


def test_no_difference_at_all(tmp_path: Path) -> None:
    for benchmark in (TOY, PAIRS):
        same = samples(drawn(0, 40), 2, 2)
        (one,) = compare(*both(tmp_path, benchmark, same, same)).contrasts
        assert (one.difference, one.p, one.low, one.high, one.ties) == (0, 1, 0, 0, 40)


def test_one_cluster_has_no_interval(tmp_path: Path) -> None:
    for benchmark in (TOY, PAIRS):
        (one,) = compare(*both(tmp_path, benchmark, samples([0, 1], 2, 2), samples([1, 1], 2, 2))).contrasts
        assert (one.low, one.high, one.p, one.clusters) == (None, None, 1, 1)


def test_p_values_are_corrected_over_the_suite(tmp_path: Path) -> None:
    a, b = samples([0.0] * 6), samples([1.0] * 6)
    for name, side in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        write_output(tmp_path / name, name, {"toy": (TOY, side), "judged": (JUDGED, side)})
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"))
    assert [(one.p, one.p_holm) for one in found.contrasts] == [(2 / 64, 4 / 64)] * 2


def test_only_what_counts_on_both_sides_is_compared(tmp_path: Path) -> None:
    a, b = samples([1.0] * 8), samples([0.0] * 9)
    a[1] = sample(1, None, state="error", cluster="image 1")
    b[2] = sample(2, None, state="error", cluster="image 2")
    b[3] = sample(3, 0.0, cluster="another image")
    found = compare(*both(tmp_path, TOY, a, b))
    (one,) = found.contrasts
    assert (one.n, one.losses, one.a, one.b) == (5, 5, 100, 0)
    assert one.left_out == {"error in A": 1, "error in B": 1, "prompt or images differ": 1, "only in B": 1}
    assert one.notes == ("A is incomplete", "B is incomplete", "prompt or images differ of 0003")
    text = markdown(found)
    assert "1 items left out: prompt or images differ" in text
    assert "TOY: A is incomplete" in text


def test_units_that_lost_an_item_are_left_out(tmp_path: Path) -> None:
    a, b = samples([1.0] * 6, 2, 2), samples([0.0] * 6, 2, 2)
    b[3] = sample(3, None, state="error", unit="unit 1", cluster="image 1")
    (one,) = compare(*both(tmp_path, PAIRS, a, b)).contrasts
    assert one.n == 4
    assert one.left_out == {"error in B": 1, "other items of its unit are left out": 1}


def test_a_part_whose_rows_are_numbered_anew_is_compared_where_both_have_an_item(tmp_path: Path) -> None:
    a = samples([1, 0, 1, 1, 0])
    b = [sample(number, 0.0, cluster=f"image {number + 3}") for number in range(4)]
    for name, found in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        write_output(tmp_path / name, name, {"toy": (TOY, found)}, official=5)
    (one,) = compare(str(tmp_path / "a"), str(tmp_path / "b")).contrasts
    assert (one.n, one.losses) == (2, 1)
    assert one.left_out == {"only in A": 3, "only in B": 2}
    back = compare(str(tmp_path / "b"), str(tmp_path / "a"))
    assert (back.contrasts[0].n, back.contrasts[0].wins) == (2, 1)
    assert "Not the official set in A: TOY." in back.notes


def test_flips(tmp_path: Path) -> None:
    a, b = samples([1, 0, 1, 0.5, 0]), samples([0, 1, 1, 0.25, 0])
    found = compare(*both(tmp_path, TOY, a, b))
    assert [(flip.sample_id, flip.score_a, flip.score_b) for flip in found.flips] == [
        ("0000", 1, 0),
        ("0001", 0, 1),
        ("0003", 0.5, 0.25),
    ]
    assert flip_lines(found, 1) == ['toy 0000: 1 -> 0: "a says 1" -> "b says 0"', "toy: 2 more flips"]
    assert len(flip_lines(found, 9)) == 3
    assert flip_lines(found, 0) == []
    write(found, str(tmp_path / "out"))
    lines = (tmp_path / "out" / "flips.jsonl").read_text().splitlines()
    assert tuple(Flip.model_validate_json(line) for line in lines) == found.flips
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert Comparison.model_validate(stored | {"flips": found.flips}) == found
    assert (tmp_path / "out" / "comparison.md").read_text() == markdown(found)


def test_the_table_reads_well(tmp_path: Path) -> None:
    a, b = [1.0] * 20 + [0.0] * 20, [1.0] * 18 + [0.0] * 10 + [1.0] * 12
    text = markdown(compare(*both(tmp_path, TOY, samples(a), samples(b))))
    row = next(line for line in text.splitlines() if line.startswith("| TOY"))
    shown = [cell.strip() for cell in row.strip("|").split("|")]
    assert shown[:4] == ["TOY", "accuracy", "50.00", "75.00"]
    assert shown[4].startswith("+25.00 [+")
    assert shown[5:] == ["0.013", "0.013", "12/2", "40"]


def test_what_the_reader_must_know(tmp_path: Path) -> None:
    a, b = both(tmp_path, TOY, samples([1, 0]), samples([1, 1]), decoding="greedy, bf16")
    (one,) = compare(a, b).contrasts
    assert one.notes == ("decoding differs: greedy in A, greedy, bf16 in B",)
    assert "same model" in compare(a, a).notes[0]
    write_output(tmp_path / "b", "b", {"toy": (TOY, samples([1, 1])), "judged": (JUDGED, samples([1]))})
    assert compare(a, b).notes == ("Only in B: JUDGED.",)


def test_different_profiles_or_judges_are_refused(tmp_path: Path) -> None:
    found = samples([1, 0])
    with pytest.raises(UserError, match=r"toy: scored under profile lmms-eval/0.7.3 in A and strict in B"):
        compare(*both(tmp_path, TOY, found, found, profile="strict"))
    a = write_output(tmp_path / "a", "a", {"judged": (JUDGED, found)}, judge="gpt")
    assert a[0].judge == "gpt"
    write_output(tmp_path / "b", "b", {"judged": (JUDGED, found)}, judge="qwen")
    with pytest.raises(UserError, match=r"judged: judged by gpt \(prompt abababab\) in A and qwen"):
        compare(str(tmp_path / "a"), str(tmp_path / "b"))


def test_an_unjudged_side_leaves_the_benchmark_out(tmp_path: Path) -> None:
    unjudged = [sample(i, None, state="unjudged", stand_in=1.0, cluster=f"image {i}") for i in range(2)]
    for name, side in (("a", samples([1, 0])), ("b", unjudged)):
        (tmp_path / name).mkdir()
        judge = "gpt" if name == "a" else ""
        write_output(tmp_path / name, name, {"toy": (TOY, samples([1])), "judged": (JUDGED, side)}, judge=judge)
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"))
    assert [one.benchmark for one in found.contrasts] == ["toy"]
    assert found.notes == ("judged: nothing to compare: no judge was asked in B",)


def test_folders_that_cannot_be_compared(tmp_path: Path) -> None:
    a, b = both(tmp_path, TOY, samples([1]), samples([0]))
    with pytest.raises(UserError, match=r"absent: holds no results.json"):
        compare(a, str(tmp_path / "absent"))
    write_output(tmp_path / "b", "b", {"judged": (JUDGED, samples([1]))})
    with pytest.raises(UserError, match="no benchmark in common: they hold toy and judged"):
        compare(a, b)
    failed = [sample(0, None, state="error", cluster="image 0")]
    with pytest.raises(UserError, match=r"no scored item in common:\n  toy: nothing to compare: 1 items error in B"):
        compare(*both(tmp_path, TOY, samples([1]), failed))
    (tmp_path / "b" / "samples" / "toy.parquet").unlink()
    with pytest.raises(UserError, match=r"toy.parquet: cannot be read"):
        compare(a, b)


@pytest.mark.parametrize(
    ("profile", "metric", "difference"), [("lmms-eval/0.7.3", "accuracy", 25), ("strict", "task mean", 50)]
)
def test_the_headline_is_that_of_the_profile(tmp_path: Path, profile: Profile, metric: str, difference: float) -> None:
    tasks = ("Jigsaw", "Jigsaw", "Jigsaw", "IQ_Test")
    for name, scores in (("a", (0, 0, 0, 0)), ("b", (0, 0, 0, 1))):
        found = [sample(i, scores[i], facets={"sub_task": task}) for i, task in enumerate(tasks)]
        (tmp_path / name).mkdir()
        write_output(tmp_path / name, name, {"blink-val": (BENCHMARKS["blink-val"], found)}, profile=profile)
    (one,) = compare(str(tmp_path / "a"), str(tmp_path / "b")).contrasts
    assert (one.metric, one.difference) == (metric, difference)
    assert one.low is not None
