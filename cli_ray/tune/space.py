"""The search space of a sweep: from its TOML to Ray Tune, and from what a trial drew back to a run config.

Called by the driver of the sweep and by its trials.
"""

from collections.abc import Iterator
from typing import Any

from ray import tune

from cli_ray.config import Domain, RunConfig, SweepConfig
from cli_ray.config.load import ConfigError, validated
from cli_ray.config.sweep import ARM

Draw = dict[str, Any]
"""What a trial drew, by dotted field of the run config; values of a choice by their label."""


def ray_space(sweep: SweepConfig) -> dict[str, Any]:
    """The space as Ray Tune's domains."""
    grid = sweep.search == "grid"
    space = {field: _ray_domain(domain, grid) for field, domain in sweep.space.items()}
    if sweep.arms:
        space[ARM] = _ray_domain(Domain(choice=tuple(sweep.arms)), grid)
    return space


def _ray_domain(domain: Domain, grid: bool) -> Any:
    if domain.choice:
        return (tune.grid_search if grid else tune.choice)(list(domain.labels))
    if domain.uniform:
        return tune.uniform(*domain.uniform)
    if domain.log_uniform:
        return tune.loguniform(*domain.log_uniform)
    assert domain.integers
    low, high = domain.integers
    return tune.randint(low, high + 1)


def configured(base: RunConfig, sweep: SweepConfig, draw: Draw) -> RunConfig:
    """The config of a trial.

    Raises:
        ConfigError: what it drew breaks a rule of the config; names the fields.
    """
    changes: Draw = {}
    for field, value in draw.items():
        if field == ARM:
            changes |= sweep.arms[value]
        else:
            changes[field] = sweep.space[field].labels[value] if sweep.space[field].choice else value
    return changed(base, changes, "; ".join(f"{field} = {value}" for field, value in draw.items()))


def changed(base: RunConfig, changes: dict[str, Any], where: str) -> RunConfig:
    """The base with fields replaced.

    Args:
        changes: values by dotted field.
        where: the draw, for the error message.

    Raises:
        ConfigError: a field does not exist or a value breaks a rule; names it.
    """
    values = base.model_dump()
    for field, value in changes.items():
        _set(values, field, value)
    return validated(RunConfig, values, where)


def candidates(base: RunConfig, sweep: SweepConfig) -> Iterator[tuple[str, RunConfig]]:
    """The base with every value of the space by itself, each with the name of that value for messages.

    Raises:
        ConfigError: a field does not exist or a value breaks a rule; names it.
    """
    yield "base", base
    for field, domain in sweep.space.items():
        for value in domain.examples:
            where = f"space: {field} = {value}"
            yield where, changed(base, {field: value}, where)
    for name, changes in sweep.arms.items():
        where = f"arms: {name}"
        yield where, changed(base, changes, where)


def _set(values: dict[str, Any], field: str, value: Any) -> None:
    *sections, name = field.split(".")
    target = values
    for section in sections:
        if not isinstance(target.get(section), dict):
            raise ConfigError(f"space: {field} is no field of a run; `cli-ray train --help` lists them all")
        target = target[section]
    if name not in target:
        raise ConfigError(f"space: {field} is no field of a run; `cli-ray train --help` lists them all")
    target[name] = value
