"""What all tests share: a quiet environment, tiny models and one Ray cluster of several nodes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli_ray.registry import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

# Set before torch or ray is imported, and inherited by the processes that they start.
os.environ |= {
    "DS_ACCELERATOR": "cpu",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    # As others of the machine, beside which Ray would otherwise get what they leave.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
}

RAY_MODULES = {
    "test_controller.py",
    "test_doctor_command.py",
    "test_drill.py",
    "test_evaluate.py",
    "test_evaluations.py",
    "test_job_submission.py",
    "test_local_nodes.py",
    "test_place.py",
    "test_pool.py",
    "test_reading.py",
    "test_reaper.py",
    "test_served_model.py",
    "test_capacity.py",
    "test_spare.py",
    "test_sweep.py",
    "test_trainer.py",
    "test_tutorial.py",
}
"""Those that start Ray nodes, or use the cluster."""


@pytest.fixture(scope="session", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Each model family in turn."""
    family: str = request.param
    return family


@pytest.fixture(scope="session")
def processor(family: str) -> "ProcessorMixin":
    """The tiny processor of the family."""
    from cli_ray.model.tiny import tiny_processor

    return tiny_processor(family)


@pytest.fixture(scope="session")
def plain_model(family: str) -> "PreTrainedModel":
    """A tiny stock LLaVA of the family, in evaluation mode. Shared: do not change it."""
    from cli_ray.model.tiny import build_tiny

    return build_tiny(family)


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray cluster for the whole session: a head that does no work, and three nodes with two CPUs each."""
    import ray

    from cli_ray.drill.plan import Room
    from cli_ray.drill.site import Site

    site = Site([Room(cpus=2)] * 3)
    ray.init(address=site.address, logging_level="warning", log_to_driver=False)
    yield
    ray.shutdown()
    site.close()


@pytest.fixture(scope="session")
def training_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of `trained_run`."""
    from tests.train.training import write_data

    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def trained_run(cluster: None, training_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed. Shared: do not change it."""
    from cli_ray.train.trainer import train
    from tests.train.training import STEPS, config_of

    runs = tmp_path_factory.mktemp("runs")
    summary = train(config_of(training_data, runs))
    assert (summary["step"], summary["bad_samples"]) == (STEPS, 0)
    return runs / "run"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that use Ray come first, for they take longest."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()) and item.path.name not in RAY_MODULES:
            raise pytest.UsageError(f"{item.path} uses the cluster: add it to RAY_MODULES in tests/conftest.py")
    items.sort(key=lambda item: item.path.name not in RAY_MODULES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps modules whole, for their fixtures, and those that use Ray in one process, for there is one cluster."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        # Not --dist loadgroup, whose groups pytest-xdist 3.8 loses under pytest 9.2.
        def _split_scope(self, nodeid: str) -> str:
            module = str(super()._split_scope(nodeid))
            return "Ray" if Path(module).name in RAY_MODULES else module

    return Scheduling(config, log)
