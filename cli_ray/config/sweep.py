"""The config of a sweep: which fields of a run it varies, how it searches, and by what it compares trials.

Read by `cli-ray tune`.
"""

import json
import re
from typing import Annotated, Any, ClassVar, Literal, Self

import tyro
from pydantic import Field, model_validator

from cli_ray.config.base import Section, Uri

Value = Any
"""A value of a config field, as TOML has it."""
ARM = "arm"
"""Name of the choice between arms in results and figures."""


class Domain(Section):
    """What one field is varied over: one of `choice`, `uniform`, `log_uniform` and `integers`. In TOML a bare list
    stands for `{choice = [...]}`."""

    choice: tuple[Value, ...] = ()
    """These values."""
    uniform: tuple[float, float] | None = None
    """Numbers between two bounds."""
    log_uniform: tuple[float, float] | None = None
    """Numbers between two positive bounds, their logarithm evenly spread."""
    integers: tuple[int, int] | None = None
    """Whole numbers from the first to the last, both included."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_list(cls, value: Any) -> Any:
        return {"choice": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        domains = (self.choice or None, self.uniform, self.log_uniform, self.integers)
        given = [domain for domain in domains if domain is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of choice = [...], uniform, log_uniform and integers = [low, high]")
        if not self.choice and not given[0][0] < given[0][1]:
            raise ValueError(f"{list(given[0])}: the first bound must be below the second")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform = {list(self.log_uniform)}: both bounds must be above 0")
        if len(self.labels) != len(self.choice):
            raise ValueError("choice holds a value twice")
        return self

    @property
    def labels(self) -> dict[str | int | float | bool, Value]:
        """The values of a choice by their label in results: the value itself, or its JSON where it is no scalar."""
        return {
            value if isinstance(value, str | int | float) else json.dumps(value, separators=(",", ":")): value
            for value in self.choice
        }

    @property
    def examples(self) -> tuple[Value, ...]:
        """Every value of a choice, or the bounds."""
        return self.choice or self.uniform or self.log_uniform or self.integers or ()


class AshaConfig(Section):
    """Asynchronous successive halving (arXiv 1810.05934)."""

    grace_steps: int = Field(default=0, ge=0)
    """Steps that every trial may train before it can be stopped; 0 takes the steps between two validations."""
    reduction: int = Field(default=3, ge=2)
    """At each rung the best 1/reduction of the trials go on; rungs are that factor apart."""


class PbtConfig(Section):
    """Population-based training (arXiv 1711.09846): bad trials go on from the checkpoint of a good one with its
    hyperparameters changed. For fields below `optim` only, which a checkpoint does not depend on."""

    interval_steps: int = Field(default=0, ge=0)
    """Steps between two exchanges; 0 takes the steps between two checkpoints."""


class SweepConfig(Section):
    """A sweep over hyperparameters of a run. The same command again resumes it."""

    lists_fields: ClassVar[str] = "`cli-ray tune --help`"

    name: str
    """Name of the sweep's folder below `sweeps_dir`."""
    base: str
    """Config of the run that trials change, a TOML file beside this one or an absolute path."""
    sweeps_dir: Uri = "runs/sweeps"
    """Folder or pyarrow URI that holds sweeps; shared by all nodes."""
    space: Annotated[dict[str, Domain], tyro.conf.Suppress] = Field(default={})
    """By dotted field of the run config, such as `"injection.amp.rank" = [4, 8, 16]`."""
    arms: Annotated[dict[str, dict[str, Value]], tyro.conf.Suppress] = Field(default={})
    """By name, sets of fields that change together, such as `"AMP only" = { "injection.kind" = "amp_only" }`."""
    objectives: tuple[str, ...] = ("validation_loss",)
    """`validation_loss`, `step_ms` and `added_parameters` (the lower the better) and `eval/BENCHMARK` (the higher the
    better). Several give a Pareto front; the first one decides which trials are stopped early."""
    search: Literal["tpe", "nsga2", "random", "grid"] = "tpe"
    """Optuna's TPE or NSGA-II, random draws, or every combination once."""
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    """What stops bad trials early."""
    num_trials: int = Field(default=16, ge=1)
    """Trials of the sweep; `grid` counts its own."""
    max_concurrent: int = Field(default=0, ge=0)
    """Trials at once; 0 takes as many as the cluster has room for at the start, or can grow to."""
    max_failures: int = Field(default=2, ge=0)
    """Restarts of a trial whose driver or workers are lost; one that is lost more often waits for the next call of the
    command. A trial that fails by itself is recorded, not tried again."""
    seed: int = Field(default=0, ge=0)
    """Of the search."""
    asha: AshaConfig = AshaConfig()
    pbt: PbtConfig = PbtConfig()

    @property
    def folder(self) -> str:
        """The folder of the sweep, a path or URI."""
        return f"{self.sweeps_dir.rstrip('/')}/{self.name}"

    @property
    def domains(self) -> dict[str, Domain]:
        """What each hyperparameter is drawn from, the arms among them."""
        return self.space | ({ARM: Domain(choice=tuple(self.arms))} if self.arms else {})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(f"name = {self.name!r}: use letters, digits, '.', '_' and '-'")
        if not self.space and not self.arms:
            raise ValueError("nothing is varied: give [space] or [arms]")
        for name in self.objectives:
            if name not in ("validation_loss", "step_ms", "added_parameters") and not re.fullmatch(r"eval/.+", name):
                raise ValueError(
                    f"objectives: {name!r} is none of validation_loss, step_ms, added_parameters and eval/BENCHMARK"
                )
        if not self.objectives or len(set(self.objectives)) != len(self.objectives):
            raise ValueError("objectives: name at least one, and none twice")
        continuous = [field for field, domain in self.space.items() if not domain.choice]
        if self.search == "grid" and continuous:
            raise ValueError(f'space.{continuous[0]}: search = "grid" takes lists only')
        if self.scheduler == "pbt":
            self._check_pbt()
        return self

    def _check_pbt(self) -> None:
        others = [field for field in self.space if not field.startswith("optim.")]
        if others or self.arms:
            raise ValueError(
                f'scheduler = "pbt" changes fields while a run goes on, and {others[0] if others else "arms"} may '
                "change its weights or its data: vary fields below optim only"
            )
        if self.search != "random":
            raise ValueError('scheduler = "pbt" needs search = "random", for it searches by itself')


def direction(objective: str) -> Literal["minimize", "maximize"]:
    """Whether a lower or a higher value of an objective is better."""
    return "maximize" if objective.startswith("eval/") else "minimize"
