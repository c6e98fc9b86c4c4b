"""What is left of workers that die at their start."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from ray.util import placement_group_table

from cli_ray.train.controller import Trainer
from tests.free import await_cpus


@dataclass
class Fatal(TorchConfig):
    """Ends the first worker once all are there, before training begins."""

    @property
    def backend_cls(self) -> Any:
        return FatalBackend


class FatalBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Fatal) -> None:
        worker_group.execute_single(0, os._exit, 1)


def test_nothing_stays_reserved(cluster: None, tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # tests are no package that the controller could import
    trainer = Trainer(
        print,
        timeout_s=60,
        torch_config=Fatal(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=str(tmp_path), failure_config=FailureConfig(controller_failure_limit=0)),
    )
    before = set(placement_group_table())
    with pytest.raises(TrainingFailedError):
        trainer.fit()
    made = {name: one["state"] for name, one in placement_group_table().items() if name not in before}
    assert list(made.values()) == ["REMOVED"]
    assert await_cpus(ray.cluster_resources()["CPU"]) == ray.cluster_resources()["CPU"]
