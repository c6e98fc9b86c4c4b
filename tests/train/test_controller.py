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
from ray.train.v2._internal.constants import WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR
from ray.util import placement_group_table

from cli_ray.config import ClusterConfig
from cli_ray.train import ray_train
from cli_ray.train.ray_train import Controller, Torch, TorchBackend, Trainer, start_controller
from tests.free import await_cpus


@dataclass
class Fatal(Torch):
    """Ends the first worker once all are there, before training begins."""

    @property
    def backend_cls(self) -> Any:
        return FatalBackend


class FatalBackend(TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Fatal) -> None:
        worker_group.execute_single(0, os._exit, 1)


class Told(Controller):
    """Ends at once, and says after how many seconds it would take workers for dead."""

    def prepare(self, **arguments: Any) -> None:
        pass

    async def run(self) -> None:
        pass

    async def get_result(self) -> Any:
        return float(os.environ[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR])


@pytest.mark.slow
def test_the_driver_ends_workers_that_hang_before_ray_train_does(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_train, "Controller", Told)
    backstop_s = ClusterConfig().backstop_s

    def limit_s() -> Any:
        return Trainer(print, controller=start_controller(backstop_s))._initialize_and_run_controller()

    assert limit_s() == backstop_s > ClusterConfig().timeout_s == 1800
    monkeypatch.setenv(WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR, "7")
    assert limit_s() == 7, "who sets Ray's own variable means it"


@pytest.mark.slow
def test_nothing_stays_reserved(cluster: None, tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # tests are no package that the controller could import
    trainer = Trainer(
        print,
        controller=start_controller(60),
        backend_config=Fatal("gloo", timeout_s=60),
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=str(tmp_path), failure_config=FailureConfig(controller_failure_limit=0)),
    )
    before = set(placement_group_table())
    with pytest.raises(TrainingFailedError):
        trainer.fit()
    made = {name: one["state"] for name, one in placement_group_table().items() if name not in before}
    assert list(made.values()) == ["REMOVED"]
    assert await_cpus(ray.cluster_resources()["CPU"]) == ray.cluster_resources()["CPU"]
