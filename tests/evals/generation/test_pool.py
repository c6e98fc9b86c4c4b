"""The pool answers everything once, whatever dies."""

import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cli_ray import autoscaler
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.errors import RunFailedError, UserError
from cli_ray.evals.generation import pool
from cli_ray.evals.generation.job import PoolState
from cli_ray.evals.generation.pool import run_pool
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.generation.replica import Replica, start
from cli_ray.evals.generation.schedule import plan
from cli_ray.evals.generation.size import PoolSize, capacity
from cli_ray.evals.items.location import Location
from cli_ray.evals.records import ReplyRecord
from tests.evals.generation.charts import NAME, TOKENS, entries_of, job_of, row, save_model, sixteen, write_rows
from tests.evals.generation.echo import TWO, Echo, echoed, queue_of

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Location:
    return write_rows(tmp_path_factory.mktemp("data"), [row(seed) for seed in range(24)])


def by_name(records: Sequence[ReplyRecord]) -> dict[str, ReplyRecord]:
    """Records by sample, of which each must have one."""
    assert len({record.key for record in records}) == len(records) == 24
    return {record.sample_id: record for record in records}


@pytest.mark.slow
def test_each_item_is_answered_once(location: Location) -> None:
    records, states = echoed(location)
    assert {record.reply for record in by_name(records).values()} == {str(number) for number in range(24)}
    assert states[0] == PoolState(0, 2, 0)
    assert states[-1] == PoolState(0, 0, 0)
    assert max(state.ready for state in states) >= 1


@pytest.mark.slow
def test_a_poisonous_item_is_an_error_and_the_others_are_answered(location: Location) -> None:
    found = by_name(echoed(location, {9: "poison"})[0])
    assert [name for name, record in found.items() if record.finish == "error"] == ["poison"]
    assert found["poison"].attempts >= TWO.attempts
    assert found["poison"].error.startswith("its replica died: ActorDiedError")


@pytest.mark.slow
def test_what_cannot_be_read_is_tried_again_and_costs_no_replica(location: Location) -> None:
    records, states = echoed(location, {9: "unreadable"})
    failed = [record for record in by_name(records).values() if record.finish == "error"]
    assert [(record.sample_id, record.error) for record in failed] == [("unreadable", "OSError: the disk is away")]
    assert max(state.lost for state in states) == 0


@pytest.mark.slow
def test_a_run_in_which_nothing_succeeds_ends(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FRUITLESS", 2)
    with pytest.raises(RunFailedError, match=r"\d+ batches failed one after the other.*the disk is away"):
        echoed(location, dict.fromkeys(range(24), "unreadable"))


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_run(location: Location) -> None:
    with pytest.raises(UserError, match=r"^the model is nowhere$"):
        run_pool(queue_of(location), job_of("user", location, TWO), print, None, Echo)
    with pytest.raises(RunFailedError, match=r"3 replicas in a row failed to load the model dies.*ActorDied"):
        run_pool(queue_of(location), job_of("dies", location, TWO), print, None, Echo)


@pytest.mark.slow
def test_replicas_that_fall_together_while_they_load_are_one_failure(location: Location, tmp_path: Path) -> None:
    """As on a node that dies."""
    replica = ReplicaConfig(count=4, gpus=0, cpus=1, batch_size=2, attempts=2)
    queue = queue_of(location, replica)
    records: list[ReplyRecord] = []
    run_pool(queue, job_of(f"fall: {tmp_path}", location, replica), records.extend, None, Echo)
    assert queue.done
    assert sorted(int(record.reply) for record in records) == list(range(24))
    assert len(list(tmp_path.iterdir())) > 4


@pytest.mark.slow
def test_a_cluster_without_room_is_reported_at_once(location: Location) -> None:
    replica = ReplicaConfig(gpus=3, cpus=1)
    with pytest.raises(UserError, match=r"replica\.gpus = 3 and replica\.cpus = 1; .* 0 GPUs and 2 CPUs"):
        run_pool(queue_of(location), job_of("", location, replica), print, None, Echo)


def test_capacity_counts_whole_replicas() -> None:
    assert capacity(ReplicaConfig(gpus=0, cpus=4)) == 0  # three nodes have two CPUs each
    assert capacity(ReplicaConfig(gpus=0, cpus=1.5)) == 3
    assert capacity(ReplicaConfig(gpus=0, cpus=0.5)) == 12
    assert capacity(ReplicaConfig(gpus=0.5, cpus=1)) == 0


@pytest.mark.parametrize(
    ("gpus", "cpus", "held"), [(1, 1, 4), (0.5, 1, 8), (0.4, 1, 8), (2, 1, 2), (3, 1, 1), (1, 8, 2), (5, 1, 0)]
)
def test_a_node_of_four_gpus_holds(gpus: float, cpus: float, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"Alive": True, "Resources": {"GPU": 4.0, "CPU": 16.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node, node | {"Alive": False}])
    assert capacity(ReplicaConfig(gpus=gpus, cpus=cpus)) == held


@pytest.mark.slow
def test_it_leads_out_of_the_placement_group_of_its_caller(location: Location) -> None:
    group = placement_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    records, _ = ray.get(ray.remote(num_cpus=1, scheduling_strategy=strategy)(echoed).remote(location))
    remove_placement_group(group)
    assert {record.reply for record in by_name(records).values()} == {str(number) for number in range(24)}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those of the pool that runs, dead ones too."""
    started: list[Any] = []

    def starting(*args: Any) -> Any:
        started.append(start(*args))
        return started[-1]

    monkeypatch.setattr(pool, "start", starting)
    return started


class Killer:
    """Takes in records, and after some of them kills a replica that is at work."""

    def __init__(self, workers: list[Any], seed: int, last: int) -> None:
        self.records: list[ReplyRecord] = []
        self._workers, self._draw, self._calls = workers, random.Random(seed), 0
        self.moments = {self._draw.randint(1, last // 2), self._draw.randint(last // 2 + 1, last)}

    def __call__(self, records: list[ReplyRecord]) -> None:
        self.records += records
        self._calls += 1
        if self._calls in self.moments:
            ray.kill(self._draw.choice([worker for worker in self._workers if worker.streams]).actor)


@pytest.mark.slow
def test_killed_replicas_change_nothing(location: Location, workers: list[Any]) -> None:
    for seed in range(2):
        killer, states = Killer(workers, seed, last=16), list[PoolState]()
        run_pool(queue_of(location), job_of("", location, TWO), killer, states.append, Echo)
        assert {name: record.reply for name, record in by_name(killer.records).items()} == {
            str(number): str(number) for number in range(24)
        }
        # One that was killed after its last record, when no work was left, is not missed.
        assert 0 < max(state.lost for state in states) <= len(killer.moments)


@pytest.mark.slow
def test_replies_of_a_pool_with_a_kill_equal_those_of_one_predictor(
    location: Location, workers: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    job = job_of(save_model(tmp_path_factory.mktemp("model"), "llava_onevision"), location, TWO)
    predictor, alone = Predictor(job), list[ReplyRecord]()
    for batch in plan(NAME, TOKENS, location.parts, entries_of(location, TWO), TWO, sixteen):
        alone += [record for records in predictor.predict(batch) for record in records]
    killer = Killer(workers, 0, last=4)
    killer.moments = {2}
    run_pool(queue_of(location), job, killer, None, Replica)
    pooled = by_name(killer.records)
    assert {name: (one.key, one.reply, one.finish) for name, one in pooled.items()} == {
        name: (one.key, one.reply, one.finish) for name, one in by_name(alone).items()
    }


def test_a_cluster_that_grows_is_asked_for_twice_what_it_holds_until_it_has_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused: list[bool] = []
    monkeypatch.setattr(autoscaler, "version", lambda: 2)
    monkeypatch.setattr(autoscaler, "refuses", lambda cpus, gpus: bool(refused))
    size = PoolSize(ReplicaConfig(gpus=0, cpus=2), spare_only=False)
    assert [size.wanted(room) for room in (0, 1, 4)] == [1, 2, 8]
    refused.append(True)
    assert [size.wanted(room) for room in (6, 6)] == [6, 6]
    refused.clear()
    assert size.wanted(6) == 6
    assert size.wanted(4) == 8, "nodes have gone, which may come again"


@pytest.mark.slow
def test_replicas_for_which_a_cluster_does_not_grow_are_withdrawn(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, looks = ReplicaConfig(gpus=0, cpus=1, dtype="fp32", batch_size=2), count()
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(autoscaler, "version", lambda: 2)
    monkeypatch.setattr(autoscaler, "refuses", lambda cpus, gpus: next(looks) > 0)
    records, sizes = list[ReplyRecord](), list[tuple[int, int]]()

    def changed(state: PoolState) -> None:
        sizes.append((state.ready + state.starting, len(records)))

    run_pool(queue_of(location, replica), job_of("", location, replica), records.extend, changed, Echo)
    assert sizes[0] == (12, 0)
    assert (6, 0) in sizes
    assert len(records) == 24
