"""A run that goes on with another number of ranks from checkpoint to checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_ray.train.checkpoint.files import complete_checkpoints
from cli_ray.train.checkpoint.restore import load
from cli_ray.train.rehearsal import longest_batch
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.schedule import lr_factor
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, ScenarioRun, mean_loss, save

STEPS = 6
STORE = "object store"
"""In the name of a case: its run folder is taken for one."""


@dataclass(frozen=True)
class Trace:
    """What a run showed."""

    losses: list[float]
    """Of each step."""
    groups: list[list[float]]
    """Learning rate and weight decay of each parameter group at the end."""
    adam_steps: list[float]
    """The different step counters that Adam holds at the end, over all parameters and ranks."""
    engine_steps: int
    """DeepSpeed's step counter at the end."""


def traces(cases: dict[str, Case], worlds: Sequence[int], runs: Path) -> dict[str, Trace]:
    """Trains each case for `STEPS` steps in equal parts, each with the next number of ranks and saved at its end."""
    losses: dict[str, list[float]] = {name: [] for name in cases}
    for part, world in enumerate(worlds, start=1):
        ranks = on_ranks(world, train_to, cases, str(runs), STEPS * part // len(worlds))
        for name in cases:
            assert all(rank[name]["losses"] == ranks[0][name]["losses"] for rank in ranks)
            losses[name] += ranks[0][name]["losses"]
    return {
        name: Trace(
            losses[name],
            ranks[0][name]["groups"],
            sorted({step for rank in ranks for step in rank[name]["adam_steps"]}),
            ranks[0][name]["engine_steps"],
        )
        for name in cases
    }


def train_to(cases: dict[str, Case], runs: str, last: int) -> dict[str, Any]:
    """Goes on with each case from its newest checkpoint to step `last` and saves; called by every rank."""
    folders = {name: (Store if STORE in name else RunFolder)(f"{runs}/{name}") for name in cases}
    return {name: _train_to(case, folders[name], last) for name, case in cases.items()}


class Store(RunFolder):
    """A folder that is used as an object store is: files are put and fetched, never written in place."""

    @property
    def is_local(self) -> bool:
        return False


def _train_to(case: Case, folder: RunFolder, last: int) -> dict[str, Any]:
    trained = ScenarioRun(case)
    engine = trained.engine
    engine.rehearse(longest_batch(trained.encoder, trained.config))
    complete = complete_checkpoints(folder)
    if complete:
        load(folder, complete[-1], engine.deepspeed)
    losses = []
    for step in range(complete[-1].progress.step if complete else 0, last):
        factor = lr_factor(step, STEPS, trained.config.optim)
        losses.append(mean_loss(engine, engine.train_step(trained.share(step), step, factor).forwards))
    save(folder, last, trained)
    optimizer = engine.deepspeed.optimizer
    states = getattr(optimizer, "optimizer", optimizer).state.values()
    return {
        "losses": losses,
        "groups": [[group["lr"], group["weight_decay"]] for group in optimizer.param_groups],
        "adam_steps": [float(state["step"]) for state in states],
        "engine_steps": engine.deepspeed.global_steps,
    }


def largest_difference(one: Trace, other: Trace) -> float:
    """Between the losses of two runs at the same step."""
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))
