"""Faults of a run that show before a GPU is taken.

Called by the trainer before it asks for workers, and by the pipeline. Loads torch and transformers only where it must.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cli_ray import registry
from cli_ray.config import RunConfig
from cli_ray.config.train import Sink
from cli_ray.errors import UserError
from cli_ray.train.base import is_on_hub
from cli_ray.train.environment import has_begun_here
from cli_ray.train.run_folder import RunFolder

if TYPE_CHECKING:
    from cli_ray.train.evaluator import Evaluator


def check_start(config: RunConfig, folder: RunFolder) -> "Evaluator | None":
    """Looks for them all. The model is not looked at again where ranks have begun with it under the same config,
    packages and code; whether its files are the same `pin_base` sees.

    Returns:
        What evaluates the checkpoints of the run, within its `with`; None where none is evaluated.

    Raises:
        UserError: another config or other layers than those of the run in the folder, a sink that is not installed,
            and what `check_model` and `Evaluator` raise.
    """
    changed = folder.check_config(config)
    check_sinks(config.log.sinks)
    if changed or is_on_hub(folder) or not has_begun_here(folder):
        from cli_ray.train.model_check import check_model

        injection, _ = check_model(config)
        folder.check_layers(injection)
    if not config.evaluation.every:
        return None
    from cli_ray.train.evaluator import Evaluator

    return Evaluator(config, folder)


def check_sinks(names: Sequence[Sink]) -> None:
    """Finds sinks that are not installed, before a worker starts.

    Raises:
        UserError: with the install line.
    """
    for name in names:
        if find_spec(name) is None:
            packages = registry.load(registry.SINKS[name]).packages
            raise UserError(
                f"log.sinks names {name!r}, which is not installed: pip install {' '.join(packages)} on all nodes"
            )
