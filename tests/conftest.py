"""What all tests share: a quiet environment, tiny models and one Ray cluster of several nodes."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

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
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
}


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
