"""The nearest configs that fit where one does not: each is checked by the arithmetic that refused the first.

Called by `cli-ray plan`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from pydantic import ValidationError

from cli_ray.config import RunConfig
from cli_ray.errors import UserError
from cli_ray.plan.estimate import Estimate, resolved
from cli_ray.plan.lengths import longest

MOST = 3
"""Proposals that are shown."""
LORA = {"lora.rank": 128, "optim.lora.lr": 2e-4, "optim.llm.lr": 0.0}
"""As LLaVA's script for LoRA has it."""

Change = dict[str, Any]
"""Values by dotted field."""


@dataclass(frozen=True)
class Proposal:
    """A changed config that fits."""

    change: Change
    memory: int
    """Bytes of a rank."""

    def toml(self) -> str:
        """Lines to paste into the config."""
        tables: dict[str, list[str]] = {}
        for name, value in self.change.items():
            table, _, field = name.rpartition(".")
            text = str(value).lower() if isinstance(value, bool) else repr(value)
            tables.setdefault(table, []).append(f"{field} = {text}")
        return "\n".join(line for table, lines in tables.items() for line in (f"[{table}]", *lines))

    def arguments(self) -> str:
        """The same as arguments of `cli-ray train`."""
        return " ".join(_argument(name, value) for name, value in self.change.items())


def _argument(name: str, value: Any) -> str:
    *sections, field = name.replace("_", "-").split(".")
    if isinstance(value, bool):
        return f"--{'.'.join([*sections, field if value else f'no-{field}'])}"
    return f"--{'.'.join([*sections, field])} {value!r}"


def proposals(estimate: Estimate) -> list[Proposal]:
    """The mildest changes that fit: one if one is enough, else several together; empty where none do.

    Of each kind of change the mildest value that fits is taken.
    """
    kinds = [list(values) for values in _kinds(estimate) if values]
    for number in range(1, len(kinds) + 1):
        fitting = [fit for chosen in combinations(kinds, number) if (fit := _mildest(estimate, chosen)) is not None]
        if fitting:
            return fitting[:MOST]
    return []


def _mildest(estimate: Estimate, kinds: tuple[list[Change], ...]) -> Proposal | None:
    """The first combination of values of some kinds that fits."""
    if not _fits(estimate, tuple(values[-1] for values in kinds)):
        return None  # the strongest of each are not enough
    return next(filter(None, (_fits(estimate, changes) for changes in product(*kinds))), None)


def _fits(estimate: Estimate, changes: tuple[Change, ...]) -> Proposal | None:
    change = {name: value for part in changes for name, value in part.items()}
    other = changed(estimate, change)
    return Proposal(change, other.memory) if other is not None and other.fits else None


def changed(estimate: Estimate, change: Change) -> Estimate | None:
    """The estimate of a changed config; None where it breaks a rule."""
    values = estimate.config.model_dump()
    for name, value in change.items():
        *sections, field = name.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[field] = value
    try:
        config = RunConfig.model_validate(values)
        injection = resolved(config, estimate.shape)
    except (ValidationError, UserError):
        return None
    return replace(estimate, config=config, injection=injection, workers=config.cluster.min_workers)


def _kinds(estimate: Estimate) -> Iterator[list[Change]]:
    """By what they cost: time alone, then steps that are cut finer, then what is trained, then more GPUs."""
    run, train = estimate.config, estimate.config.train
    yield [] if train.activation_checkpointing else [{"train.activation_checkpointing": True}]
    if estimate.workers > 1:
        yield [{"train.zero_stage": stage} for stage in range(train.zero_stage + 1, 4)]
    yield list(_smaller_passes(estimate))
    if estimate.shape.image_grid_pinpoints:
        most = run.data.max_tiles or 36
        yield [{"data.max_tiles": tiles} for tiles in (16, 9, 6, 4, 2, 1) if tiles < most]
    if run.optim.llm.lr:
        yield [LORA]
    if run.cluster.gpus_per_worker:
        yield [{"cluster.num_workers": run.cluster.min_workers * factor} for factor in (2, 4, 8, 16)]


def _smaller_passes(estimate: Estimate) -> Iterator[Change]:
    """Packs of fewer tokens, or micro-batches of fewer samples."""
    run = estimate.config
    micro, most = run.train.micro_batch_size, longest(run, estimate.shape)
    sizes = [size for size in range(micro - 1, 0, -1) if micro % size == 0]
    if not run.packs:
        yield from ({"train.micro_batch_size": size} for size in sizes)
        return
    tokens = run.train.pack_tokens or micro * most
    while tokens > most:
        tokens = max(most, tokens // 2)
        yield {"train.pack_tokens": tokens}
