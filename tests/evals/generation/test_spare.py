"""A pool beside a training takes only what that leaves, and never stands in its queue."""

from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError
from ray.util import placement_group, remove_placement_group

from cli_ray.evals.generation import pool, size
from cli_ray.evals.generation.job import PoolState
from cli_ray.evals.generation.pool import run_pool
from cli_ray.evals.generation.replica import start
from cli_ray.evals.items.location import Location
from cli_ray.evals.records import ReplyRecord
from tests.evals.generation.charts import job_of, row, write_rows
from tests.evals.generation.echo import TWO, Echo, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]
NONE = PoolState(0, 0, 0)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Location:
    return write_rows(tmp_path_factory.mktemp("data"), [row(seed) for seed in range(24)])


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A placement group that holds all CPUs of the cluster."""
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)
    group = placement_group([{"CPU": 2}] * 3)
    ray.get(group.ready())
    yield group
    remove_placement_group(group)


class Looks:
    """Counts how often the pool asks what is free; ends the training at one of those looks."""

    def __init__(self, training: Any, last: int) -> None:
        self.count, self._training, self._last = 0, training, last
        self._ask = ray.available_resources

    def __call__(self) -> dict[str, float]:
        self.count += 1
        if self.count == self._last:
            remove_placement_group(self._training)
        found: dict[str, float] = self._ask()
        return found


def test_no_replica_is_asked_for_until_there_is_room(
    location: Location, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, states, records = Looks(training, last=5), list[tuple[int, PoolState]](), list[ReplyRecord]()
    monkeypatch.setattr(ray, "available_resources", looks)
    monkeypatch.setattr(size, "WAIT_SECONDS", 0.0)

    def changed(state: PoolState) -> None:
        states.append((looks.count, state))

    run_pool(queue_of(location), job_of("", location, TWO), records.extend, changed, Echo, spare_only=True)

    assert len({record.key for record in records}) == 24
    assert states[0] == (1, NONE)
    asked, first = states[1]
    assert (asked > 5, first) == (True, PoolState(0, 2, 0))
    assert states[-1][1] == NONE


def test_a_replica_that_stays_pending_is_withdrawn(
    location: Location, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What seemed free at a look may be gone when the replica comes."""
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 6.0})
    monkeypatch.setattr(pool, "PENDING_SECONDS", 0.0)
    actors, states, records = list[Any](), list[PoolState](), list[ReplyRecord]()

    def starting(*args: Any) -> Any:
        handle = start(*args)
        actors.append(handle.actor)
        return handle

    def changed(state: PoolState) -> None:
        states.append(state)
        if state == NONE and len(states) > 1 and len(actors) == 2:
            monkeypatch.setattr(pool, "PENDING_SECONDS", 60.0)
            remove_placement_group(training)

    monkeypatch.setattr(pool, "start", starting)
    run_pool(queue_of(location), job_of("", location, TWO), records.extend, changed, Echo, spare_only=True)

    assert states[:4] == [NONE, PoolState(0, 2, 0), PoolState(0, 1, 0), NONE]
    assert len({record.key for record in records}) == 24
    assert max(state.lost for state in states) == 0
    for actor in actors[:2]:
        with pytest.raises(RayActorError):
            ray.get(actor.__ray_ready__.remote(), timeout=10)


def test_room_of_a_moment_is_no_room(location: Location, training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As between the end of a training and its restart."""
    remove_placement_group(training)
    free = iter([6.0, 0.0, 6.0, 0.0, 1.0])
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": next(free, 6.0)})
    states: list[PoolState] = []
    run_pool(queue_of(location), job_of("", location, TWO), lambda _: None, states.append, Echo, spare_only=True)
    assert states[:2] == [NONE, PoolState(0, 1, 0)]
