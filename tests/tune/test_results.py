"""What is said of the trials of a sweep."""

import io
from typing import Any

import pytest
from pyarrow import parquet

from cli_ray.config import Domain, SweepConfig
from cli_ray.tune.figures import draw_figures
from cli_ray.tune.results import State, TrialResult, front, importance, ranked, to_parquet

SPACE = {"injection.amp.rank": Domain(choice=(2, 4)), "optim.amp.lr": Domain(log_uniform=(1e-5, 1e-3))}
ONE = SweepConfig(name="a", base="run.toml", space=SPACE)
TWO = ONE.model_copy(update={"objectives": ("eval/ai2d", "added_parameters")})


NAMES = {"loss": "validation_loss", "ai2d": "eval/ai2d", "size": "added_parameters"}


def result(name: str, state: State = "finished", rank: int = 2, lr: float = 1e-4, **values: float) -> TrialResult:
    named = {NAMES[name]: value for name, value in values.items()}
    draw = {"injection.amp.rank": rank, "optim.amp.lr": lr}
    return TrialResult(trial=name, state=state, step=9, values=named, draw=draw)


def names(results: list[TrialResult]) -> list[str]:
    return [trial.trial for trial in results]


def test_the_best_is_a_finished_trial() -> None:
    results = [result("a", loss=2.0), result("b", loss=1.0), result("c", "stopped", loss=0.5), result("d", "failed")]
    assert names(front(ONE, results)) == ["b"]
    assert front(ONE, results[2:]) == []


def test_the_best_comes_first_and_failures_last() -> None:
    results = [result("a", "failed"), result("b", "stopped", loss=0.5), result("c", loss=2.0), result("d", loss=1.0)]
    assert names(ranked(ONE, results)) == ["d", "c", "b", "a"]
    assert names(ranked(TWO, [result("e", ai2d=1.0), result("f", ai2d=2.0)])) == ["f", "e"]
    assert names(ranked(TWO, [result("unmeasured"), result("g", ai2d=1.0)])) == ["g", "unmeasured"]


def test_the_front_holds_what_nothing_beats_in_all_objectives() -> None:
    results = [
        result("small", ai2d=50.0, size=10),
        result("large", ai2d=60.0, size=90),
        result("worse", ai2d=55.0, size=95),
        result("half", ai2d=99.0),
    ]
    assert names(front(TWO, results)) == ["large", "small"]


def test_what_decides_is_found() -> None:
    """The loss follows the learning rate alone."""
    rates = [10 ** (-5 + 2 * i / 23) for i in range(24)]
    results = [result(str(i), rank=(2, 4)[i % 2], lr=lr, loss=abs(lr - 1e-4) * 1e4) for i, lr in enumerate(rates)]
    share = importance(ONE, results)["validation_loss"]
    assert share["optim.amp.lr"] > 0.8
    assert sum(share.values()) == pytest.approx(1)
    assert importance(ONE, results[:9]) == {}


def test_nothing_is_said_of_what_the_config_alone_decides() -> None:
    results = [result(str(i), rank=(2, 4)[i % 2], ai2d=float(i), size=(10, 20)[i % 2]) for i in range(10)]
    assert importance(TWO, results).keys() == {"eval/ai2d"}


def test_results_are_a_table() -> None:
    results = [result("a", loss=2.0), result("d", "failed").model_copy(update={"reason": "no room"})]
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(to_parquet(ONE, results))).to_pylist()
    assert rows[0]["injection.amp.rank"] == "2"
    assert [row["validation_loss"] for row in rows] == [2.0, None]
    assert [row["reason"] for row in rows] == ["", "no room"]


def test_figures_show_every_trial_that_has_values() -> None:
    results = [
        result("small", ai2d=50.0, size=10),
        result("large", "stopped", ai2d=60.0, size=90),
        result("d", "failed"),
    ]
    figures = draw_figures(TWO, results, front(TWO, results), {"eval/ai2d": {"injection.amp.rank": 0.25}})
    assert figures.keys() == {"trials", "importance", "front"}
    assert all(content.startswith(b"<?xml") and b"</svg>" in content for content in figures.values())
    assert b">injection.amp.rank<" in figures["trials"]
    assert draw_figures(ONE, results[2:], [], {}).keys() == {"trials"}
