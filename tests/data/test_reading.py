"""Where Ray reads."""

from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cli_ray.data.reads import Reads
from cli_ray.data.synthetic import synthesize, write_tar
from tests.data.nodes import read
from tests.data.shards import data_config
from tests.data.test_stream import Setup, names, setup, stream  # noqa: F401
from tests.free import await_cpus


@pytest.mark.slow
def test_a_rank_reads_on_its_own_node_while_that_has_room(cluster: None, tmp_path: Path) -> None:
    write_tar(synthesize(24, seed=0, split="train"), tmp_path, shard_size=12)
    node = next(one["NodeID"] for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU") == 2)
    rank = ray.remote(read).options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
    readers = ray.get(rank.remote(data_config(tmp_path)))
    assert len(readers) == 24
    assert readers.count(node) > 12  # all, where no CPU is given back a moment late; a third, were they spread

    taken = placement_group([{"CPU": 2}], bundle_label_selector=[{"ray.io/node-id": node}])
    ray.get(taken.ready())
    readers = ray.get(rank.remote(data_config(tmp_path)))
    assert len(readers) == 24
    assert node not in readers
    remove_placement_group(taken)
    await_cpus(6)  # Ray tells of them a moment later, and other tests compare with what is free


@pytest.mark.slow
def test_ray_data_gives_the_same(cluster: None, setup: Setup) -> None:  # noqa: F811
    index, data, encoder = setup
    few = index, data.model_copy(update={"window_samples": 16, "prefetch_windows": 1}), encoder
    by_ray, here = (stream(few, world_size=2, by_ray=flag) for flag in (True, False))
    assert by_ray.take_reads() == Reads()
    for found, expected in zip(by_ray.iterate(0, 3), here.iterate(0, 3), strict=True):
        assert list(map(names, found.cuts)) == list(map(names, expected.cuts))
        assert found.bad == expected.bad
        for batch, other in zip(found.micro_batches(), expected.micro_batches(), strict=True):
            assert all(batch.inputs[key].equal(other.inputs[key]) for key in other.inputs | batch.inputs)
            assert batch.labels.equal(other.labels)
    reads = by_ray.take_reads()
    assert reads.read_ms > reads.slowest_read_ms > 0
    assert by_ray.shards[reads.slowest_shard].endswith((".tar", ".parquet"))
    early = by_ray.iterate(1)
    next(early)
    del early  # leaves windows unread
    assert len(list(by_ray.iterate(1))) == by_ray.steps_per_epoch
