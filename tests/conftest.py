"""What all tests share: a quiet environment, tiny models and one Ray cluster."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

    from cli_ray.model.tiny import Family

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


@pytest.fixture(scope="session", params=["llava", "llava_onevision"])
def family(request: pytest.FixtureRequest) -> "Family":
    """Each model family in turn."""
    family: Family = request.param
    return family


@pytest.fixture(scope="session")
def processor(family: "Family") -> "ProcessorMixin":
    """The tiny processor of the family."""
    from cli_ray.model.tiny import tiny_processor

    return tiny_processor(family)


@pytest.fixture(scope="session")
def plain_model(family: "Family") -> "PreTrainedModel":
    """A tiny stock LLaVA of the family, in evaluation mode. Shared: do not change it."""
    from cli_ray.model.tiny import build_tiny

    return build_tiny(family)


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray cluster on this machine for the whole session."""
    import ray

    # AF_UNIX socket paths are at most 107 bytes long, and pytest's own folders are too deep for that.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=6,
        include_dashboard=False,
        object_store_memory=200 * 1024**2,
        log_to_driver=False,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
