"""Where Ray reads."""

from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cli_ray.data.synthetic import synthesize, write_tar
from tests.data.nodes import read
from tests.data.shards import data_config
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
