"""Private parts of Ray, DeepSpeed and transformers are used in a few named files, which say why and until when."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cli_ray"
EVALS = PACKAGE.parent / "evals"
LIBRARIES = ("ray", "deepspeed", "transformers")
INTERNAL = (
    "ray.core.",
    "ray.train.v2.",
    "ray.experimental.internal_kv.",
    "deepspeed.runtime.",
    "deepspeed.utils.tensor_fragment.",
)
"""Modules without an underscore in their names that are private all the same."""
NAMED = {
    "deepspeed_private.py": {
        "deepspeed.ops.__compatible_ops__",
        "deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine.TorchCheckpointEngine",
        "deepspeed.utils.tensor_fragment.fragment_address",
        "deepspeed.utils.tensor_fragment.tensor_fragment",
        "._config",
        "._hp_mapping",
        "._set_pg_timeout",
        "._world",
    },
    "ray_private.py": {
        "._actor_id",
        "ray._common.utils.get_ray_address_file",
        "ray._private.gcs_utils.create_gcs_channel",
        "ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS",
        "ray._private.ray_logging.global_worker_stdstream_dispatcher",
        "ray._private.services.get_ray_address_from_environment",
        "ray._private.worker.print_to_stdstream",
        "ray._raylet",
        "ray.core.generated.autoscaler_pb2.GetClusterStatusReply",
        "ray.core.generated.gcs_service_pb2.InternalKVGetRequest",
        "ray.core.generated.gcs_service_pb2_grpc.InternalKVGcsServiceStub",
        "ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator.get_or_create_autoscaling_coordinator",
        "ray.data._internal.stats.get_or_create_stats_actor",
        "ray.experimental.internal_kv._internal_kv_del",
        "ray.experimental.internal_kv._internal_kv_get",
        "ray.experimental.internal_kv._internal_kv_put",
        "ray.serve.context._get_global_client",
    },
    "quirks.py": {"._get_num_multimodal_tokens"},
    "ray_train.py": {
        "ray.train._internal.utils.get_address_and_port",
        "ray.train.torch.config._set_torch_distributed_env_vars",
        "ray.train.torch.config._setup_torch_process_group",
        "ray._common.constants.RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR",
        "ray.train.v2._internal.callbacks.datasets.DatasetsCallback",
        "ray.train.v2._internal.callbacks.placement_group_callback.PlacementGroupCleanerCallback",
        "ray.train.v2._internal.constants.HEALTH_CHECK_INTERVAL_S_ENV_VAR",
        "ray.train.v2._internal.constants.PREEMPTION_POLL_INTERVAL_S_ENV_VAR",
        "ray.train.v2._internal.constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR",
        "ray.train.v2._internal.constants.WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR",
        "ray.train.v2._internal.constants.get_env_vars_to_propagate",
        "ray.train.v2._internal.exceptions.WorkerGroupStartupFailedError",
        "ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError",
        "ray.train.v2._internal.execution.controller.TrainController",
        "ray.train.v2._internal.execution.worker_group.worker_group.WorkerGroup",
        "ray.train.v2.api.data_parallel_trainer.DataParallelTrainer",
    },
}
"""By file, all that it may use. To use more, add it here, and beside its use the reason and when it goes."""
ELSEWHERE = {"._attn_implementation", "._hf_deepspeed_config_weak_ref", "._weight_conversions"}
"""Of transformers, in `model/`, each with its reason beside it."""
OWN = {"._part", "._fraction", "._exit", "._asdict"}
"""Attributes of other objects of our own, and Python's public names that look private."""


def is_private(name: str) -> bool:
    """Whether a dotted name belongs to a library that calls it private."""
    library, *parts = name.split(".")
    return library in LIBRARIES and (name.startswith(INTERNAL) or any(part.startswith("_") for part in parts))


def private_names(path: Path) -> Iterator[str]:
    """Private modules and names that a file imports, and private attributes that it asks of other objects."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_private(f"{alias.name}."))
        elif isinstance(node, ast.ImportFrom):
            yield from (name for alias in node.names if is_private(name := f"{node.module}.{alias.name}"))
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = ast.unparse(node.value)
            if owner.split(".")[0] in LIBRARIES and node.attr != "__version__":
                yield f"{owner}.{node.attr}"
            elif owner not in ("self", "cls", "super()") and not node.attr.startswith("__"):
                yield f".{node.attr}"


FILES = [*PACKAGE.rglob("*.py"), *EVALS.rglob("*.py")]


@pytest.mark.parametrize("name", NAMED)
def test_a_file_of_private_parts_uses_those_that_are_listed(name: str) -> None:
    (path,) = (path for path in FILES if path.name == name)
    assert set(private_names(path)) == NAMED[name]


def test_no_other_file_uses_private_parts_of_libraries() -> None:
    names = {path: set(private_names(path)) - OWN - ELSEWHERE for path in FILES if path.name not in NAMED}
    assert {str(path): used for path, used in names.items() if used} == {}


def test_private_names_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "import ray._private.worker\nfrom ray.core import generated\nimport ray, deepspeed\n"
        "from transformers.utils import _hub\nray._raylet\nself._own\nx.__class__\nhandle()._actor_id\n"
    )
    assert set(private_names(file)) == {
        "ray._private.worker",
        "ray.core.generated",
        "transformers.utils._hub",
        "ray._raylet",
        "._actor_id",
    }
