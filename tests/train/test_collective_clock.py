"""Time in collectives: the slow rank waits for nobody, the others wait for it."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from cli_ray.data.reads import Reads
from cli_ray.train.collective_clock import CollectiveClock, HostClock, StreamClock
from cli_ray.train.rank_table import RankTable, Timing
from tests.train.ranks import on_ranks
from tests.train.scenario import STEPS, Case, ScenarioRun

STAGES = (0, 1, 2, 3)
SLOW = 1


def waits() -> list[tuple[list[float], list[float]]]:
    """At each ZeRO stage: compute of the two ranks, their waiting, and what rank 1 has to do besides, in ms.

    Over all steps but the first.
    """
    return [_waits(stage) for stage in STAGES]


def _waits(zero_stage: int) -> tuple[list[float], list[float]]:
    run = ScenarioRun(Case(zero_stage=zero_stage, micro_batch=2))
    extra = Extra()
    if dist.get_rank() == SLOW:
        run.engine.deepspeed.module.model.language_model.norm.register_forward_hook(extra)
    step(run, 0)
    tables = [step(run, number) for number in range(1, STEPS)]
    compute, waiting = (
        torch.stack([table.column(name) for table in tables]).sum(0) for name in ("compute_ms", "rank_wait_ms")
    )
    return compute.tolist(), waiting.tolist()


class Extra:
    """More work after each forward pass of the language model."""

    def __call__(self, module: nn.Module, arguments: Any, output: Any) -> None:
        square = torch.ones(512, 512)
        for _ in range(20):
            square = torch.tanh(square @ square)


def step(run: ScenarioRun, number: int) -> RankTable:
    """Trains a step as the loop does."""
    share = run.share(number)
    run.engine.clock.reset()
    start = time.perf_counter()
    result = run.engine.train_step(share, number, factor=1.0)
    rank_wait_ms = run.engine.clock.read_ms()
    timing = Timing(0.0, (time.perf_counter() - start) * 1e3, rank_wait_ms)
    return RankTable.gather(run.engine, share, result.forwards, timing, Reads())


@pytest.fixture(scope="module")
def two_ranks() -> dict[int, tuple[list[float], list[float]]]:
    first, second = on_ranks(2, waits)
    assert first == second
    return dict(zip(STAGES, first, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_rank_with_less_to_do_waits_for_the_other(
    stage: int, two_ranks: dict[int, tuple[list[float], list[float]]]
) -> None:
    compute, waiting = two_ranks[stage]
    assert compute[SLOW] > compute[0]
    assert waiting[0] > waiting[SLOW]


class Time:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1.0
        return self.seconds


class Work:
    """A collective that goes on."""

    rank = 3

    def wait(self) -> str:
        return "done"


def test_nested_collectives_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", Time())
    clock = HostClock()
    outer: Callable[[], None] = clock.timed(clock.timed(lambda: None))
    outer()
    assert clock.read_ms() == 1000
    clock.reset()
    assert clock.read_ms() == 0


def test_of_a_collective_that_goes_on_its_wait_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", Time())
    clock = HostClock()
    handle = clock.timed(Work)()
    assert (handle.wait(), handle.rank) == ("done", 3)
    assert clock.read_ms() == 2000


def test_a_collective_that_fails_stops_the_clock() -> None:
    clock: CollectiveClock = HostClock()
    with pytest.raises(RuntimeError), clock:
        raise RuntimeError
    before = clock.read_ms()
    with clock:
        pass
    assert clock.read_ms() > before


class Event:
    """An event of a GPU that takes a second for whatever lies between two."""

    made = 0
    recorded = 0

    def __init__(self, enable_timing: bool) -> None:
        Event.made += 1

    def record(self, stream: object) -> None:
        Event.recorded += 1
        self.at = Event.recorded

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: "Event") -> float:
        return (end.at - self.at) * 1e3


def test_on_a_gpu_only_the_stream_that_computes_is_clocked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        device = "cuda:0"

    computing, other = Stream(), Stream()
    current: list[Stream] = [computing]
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[0])
    clock = StreamClock(computing)  # type: ignore[arg-type]
    for _ in range(3):
        clock.reset()
        assert clock.read_ms() == 0
        current[0] = computing
        clock.timed(lambda: None)()
        clock.timed(lambda: None)()
        current[0] = other
        clock.timed(lambda: None)()
        assert clock.read_ms() == 2000
        clock.mark("forward")  # five events after the reset
        assert clock.phases_ms() == {"forward": 3000}
    assert Event.made == 4 + 2  # those of collectives, and of the reset and the mark


def test_phases_take_what_is_not_spent_in_collectives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", Time())
    clock = HostClock()
    collective = clock.timed(lambda: None)
    for _ in range(2):
        clock.reset()  # at 1 s
        clock.mark("forward")  # at 2 s
        collective()  # from 3 s to 4 s
        clock.mark("backward")  # at 5 s
        clock.mark("forward")  # at 6 s
        assert clock.phases_ms() == {"forward": 2000, "backward": 2000}
        assert clock.read_ms() == 1000
    assert clock.phases_ms()["optimizer"] == 0
