"""The families of models, by the name that a config or a checkpoint gives.

Adding one is a line in `cli_ray/registry.py`.
"""

from functools import cache
from typing import Any

from cli_ray.model.family import Family
from cli_ray.registry import ADAPTERS, FAMILIES, load


@cache
def family_named(name: str) -> Family:
    """The family that `model.family` names."""
    family: Family = load(FAMILIES[name])()
    return family


def all_families() -> list[Family]:
    """All of them."""
    return [family_named(name) for name in FAMILIES]


def cli_classes() -> dict[Any, Any]:
    """From each plain model class to that of the model with injection."""
    adapted = [load(path) for path in ADAPTERS.values()]
    return {family.plain_class: family.model_class for family in all_families()} | {
        kind.plain_class: kind for kind in adapted
    }


def name_of(model_type: object) -> str:
    """The name of the family that the `model_type` of a plain or a CLI model has; it may be none that is read."""
    return str(model_type).removeprefix("cli_")


def family_of(config: Any) -> Family:
    """The family of a model's config, plain or with injection."""
    return family_named(name_of(config.model_type))
