"""The arithmetic of the scaling simulation, on costs that are easy to reckon with."""

from dataclasses import replace

import pytest

from cli_ray.config import RunConfig
from tests.perf.scaling_steps import Costs, Model, Scale, Site, loads, needed_cores, simulate, slowed

COSTS = Costs(
    encode_s=0.01,
    encode_sigma=0.1,
    collate_s=1e-4,
    collate_sigma=0.1,
    source_bytes=1e5,
    row_bytes=3e5,
    index_bytes=1.0,
    index_s=1e-8,
    beat_s=1e-4,
    look_s=1e-5,
    record_s=1e-7,
    record_bytes=50.0,
)
SITE = Site(
    tflops=1000,
    mfu=0.5,
    gpus_per_node=8,
    cpus_per_gpu=5,
    storage_gb=10,
    storage_files=1000,
    storage_latency_s=0.0,
    bus_gb=200,
    object_store_gb=100,
    useful=1.0,
)
CONFIG = RunConfig.model_validate(
    {
        "name": "scaling",
        "model": {"checkpoint": "tiny"},
        "data": {"sources": [{"path": "images"}]},
        "optim": {"llm": {"lr": 1e-5}},
        "train": {"global_batch_size": 256, "micro_batch_size": 16, "zero_stage": 3},
        "cluster": {"num_workers": 16, "cpus_per_worker": 1},
    }
)
SCALE = Scale(CONFIG, Model(10**9, 10**9, 10**13), COSTS, SITE, 10**6, loose_files=True)


def test_a_step_takes_what_the_gpu_takes_when_data_is_there() -> None:
    outcome = simulate(SCALE, seed=0, windows=2)
    assert SCALE.compute_s == pytest.approx(0.96)
    assert outcome.step_s == pytest.approx(0.96 + 16 * 1e-4, rel=1e-3)
    assert outcome.wait_share == pytest.approx(16 * 1e-4 / outcome.step_s, rel=0.05)


def test_a_step_takes_what_the_cores_take_when_they_are_too_few() -> None:
    slow = replace(SCALE, costs=replace(COSTS, encode_s=1.0))
    outcome = simulate(slow, seed=0, windows=6)
    assert outcome.step_s == pytest.approx(16 / slow.cores, rel=0.1)
    assert needed_cores(slow, outcome.step_s) == pytest.approx(slow.cores, rel=0.1)


def test_ranks_that_wait_for_one_another_take_longer() -> None:
    assert replace(SCALE, site=replace(SITE, useful=0.8)).compute_s == pytest.approx(0.96 / 0.8)


def test_ranks_wait_for_a_storage_that_is_too_slow() -> None:
    outcome = simulate(SCALE, seed=0, windows=2)
    few = replace(SCALE, site=replace(SITE, storage_files=100))
    after = slowed(outcome, list(loads(few, outcome.step_s)))
    assert 256 / after.step_s == pytest.approx(100)
    in_shards = slowed(outcome, list(loads(replace(few, loose_files=False), outcome.step_s)))
    assert in_shards.step_s == outcome.step_s
