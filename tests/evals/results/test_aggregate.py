"""Rows: headline, standard error, counts of states, stand-ins, and what is refused."""

from collections.abc import Sequence

import numpy as np
import pytest

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Metrics, Profile, ScoredItem
from cli_ray.evals.benchmarks.chartqa import CHARTQA
from cli_ray.evals.results.aggregate import Row, row
from tests.evals.results.outputs import by_units, judged, made, sample, samples

PROFILE: Profile = "lmms-eval/0.7.3"


def test_a_mean_with_its_clustered_error() -> None:
    found = row(made(), samples([1, 0, 1, 1], per_cluster=2), 4, PROFILE)
    assert found.value == 75
    assert found.standard_error == pytest.approx(25)
    assert (found.n, found.n_found, found.n_scored, found.complete) == (4, 4, 4, True)
    assert found.metrics == {"accuracy": 75}
    assert found.stand_in is None


def test_a_benchmark_of_the_suite() -> None:
    found = [sample(i, i % 2, facets={"type": ("human", "augmented")[i % 3 > 0]}) for i in range(30)]
    chart = row(CHARTQA, found, 2500, "strict")
    assert (chart.value, chart.complete, chart.profile) == (50, False, "strict")
    assert set(chart.metrics) == {"accuracy", "accuracy/human", "accuracy/augmented"}
    assert chart.references == CHARTQA.references


def test_states_are_counted_and_errors_leave_a_row_incomplete() -> None:
    found = [
        sample(0, 1.0),
        sample(1, 0.0, state="unparsed"),
        sample(2, 0.0, state="truncated", truncated=True),
        sample(3, None, state="error"),
        sample(4, None, state="unjudged"),
    ]
    one = row(made(), found, 5, PROFILE, judge_name="made-up")
    assert (one.unparsed, one.truncated, one.errors, one.unjudged) == (1, 1, 1, 1)
    assert one.value == pytest.approx(100 / 3)
    assert (one.n_scored, one.complete) == (3, False)
    assert not row(made(), found[:3], 4, PROFILE).complete
    assert row(made(), found[:3], 3, PROFILE).complete


def test_units_count_whole_or_not_at_all() -> None:
    found = samples([1, 1, 1, None, 0, 1], per_unit=2)
    one = row(by_units(), found, 6, PROFILE)
    assert (one.value, one.n_found, one.n_scored) == (50, 6, 4)


def test_a_headline_that_is_no_mean_is_resampled_by_units() -> None:
    rng = np.random.default_rng(0)
    found = samples(rng.integers(0, 2, 400).astype(float).tolist(), per_cluster=2, per_unit=2)
    one = row(by_units(), found, 400, PROFILE)
    assert one.value is not None
    share = one.value / 100
    assert one.standard_error == pytest.approx(100 * np.sqrt(share * (1 - share) / 200), rel=0.1)


def test_the_order_of_samples_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    found = samples(rng.random(120).tolist(), per_cluster=3, per_unit=2)
    shuffled = [found[i] for i in rng.permutation(120)]
    for benchmark in (made(), by_units()):
        assert row(benchmark, found, 120, PROFILE) == row(benchmark, shuffled, 120, PROFILE)
        assert row(benchmark, found, 120, PROFILE) == row(benchmark, found, 120, PROFILE)


def test_nothing_to_score() -> None:
    failed = [sample(i, None, state="error") for i in range(3)]
    for found in ([], failed):
        for benchmark in (made(), by_units(), judged()):
            one = row(benchmark, found, 3, PROFILE)
            assert (one.value, one.standard_error, one.metrics, one.n_scored) == (None, None, {}, 0)
            assert not one.complete


@pytest.mark.parametrize("benchmark", [made(), by_units()])
def test_one_cluster_has_a_value_but_no_error(benchmark: Benchmark) -> None:
    one = row(benchmark, samples([1, 0, 1, 1], per_cluster=4, per_unit=2), 4, PROFILE)
    assert one.value is not None
    assert one.standard_error is None


def test_double_ids_and_too_many_samples_are_refused() -> None:
    with pytest.raises(UserError, match="toy: 1 sample ids occur more than once, such as '0001'"):
        row(made(), [sample(0, 1), sample(1, 1), sample(1, 0)], 3, PROFILE)
    with pytest.raises(UserError, match="toy: 2 samples for 1 items"):
        row(made(), [sample(0, 1), sample(1, 1)], 1, PROFILE)


def test_a_stand_in_for_what_no_judge_has_seen() -> None:
    found = [sample(i, None, state="unjudged", stand_in=float(i < 3)) for i in range(4)]
    one = row(judged(), found, 4, PROFILE)
    assert (one.value, one.n_scored, one.unjudged, one.complete) == (None, 0, 4, True)
    assert one.stand_in is not None
    assert (one.stand_in.label, one.stand_in.value, one.stand_in.n) == ("exact match", 75, 4)
    assert one.stand_in.standard_error == pytest.approx(25)


def test_a_half_judged_benchmark() -> None:
    found = [sample(0, 1), sample(1, 0), sample(2, None, state="unjudged", stand_in=1.0)]
    found.append(sample(3, None, state="unjudged"))
    one = row(judged(), found, 4, PROFILE, "gpt", "ab12")
    assert (one.value, one.n_scored, one.judge, one.judge_prompt) == (50, 2, "gpt", "ab12")
    assert one.stand_in is not None
    assert one.stand_in.value == pytest.approx(200 / 3)
    assert one.stand_in.n == 1


def test_a_stand_in_without_what_the_judge_gives_is_a_plain_mean() -> None:
    def relative(samples: Sequence[ScoredItem]) -> Metrics:
        return {"accuracy": 100 * sum(one.parts["reply"] / one.parts["reference"] for one in samples)}

    found = [sample(i, None, state="unjudged", stand_in=float(i < 1)) for i in range(4)]
    one = row(judged(aggregate=relative, linear=False), found, 4, PROFILE)
    assert one.stand_in is not None
    assert (one.stand_in.label, one.stand_in.value) == ("exact match, plain mean in percent", 25)
    assert one.stand_in.standard_error == pytest.approx(25)


def test_only_judged_benchmarks_name_the_judge() -> None:
    assert row(made(), [sample(0, 1)], 1, PROFILE, "gpt", "ab12").judge == ""


def test_rows_survive_json() -> None:
    found = [sample(i, None, state="unjudged", stand_in=0.5) for i in range(4)]
    for one in (row(made(), samples([0.1, 0.7]), 2, PROFILE), row(judged(), found, 4, PROFILE, "gpt", "ab12")):
        assert Row.model_validate_json(one.model_dump_json()) == one
