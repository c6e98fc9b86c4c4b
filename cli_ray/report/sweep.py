"""The section of a sweep: its trials in figures and tables, why some ended early, and what the best one changed."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cli_ray.config import SweepConfig
from cli_ray.config.sweep import ARM, direction
from cli_ray.report.section import Figure, Section, Table
from cli_ray.storage.lines import read_journal
from cli_ray.text import NOTHING
from cli_ray.train.run_folder import EVENTS
from cli_ray.tune.figures import draw_figures
from cli_ray.watch.sweeps import SweepHistory, TrialHistory, value_at
from cli_ray.watch.views import number


def sweep_section(sweep: SweepHistory) -> Section:
    """The section of a sweep, also of one that goes on.

    Args:
        sweep: as its folder tells it.
    """
    parts: list[str | Table | Figure] = [_summary(sweep)]
    parts += _figures(sweep)
    parts.append(_trials(sweep, _ordered(sweep), "All trials, the best in the first objective first."))
    stopped = [trial for trial in _ordered(sweep) if trial.state == "stopped"]
    if stopped:
        parts.append(_reasons(stopped, [_early(sweep, trial) for trial in stopped], "Trials that were stopped early."))
    failed = [trial for trial in sweep.trials if trial.state == "failed"]
    if failed:
        parts.append(_reasons(failed, [trial.reason for trial in failed], "Trials that failed."))
    parts += _best(sweep)
    return Section("sweep", f"Sweep {sweep.config.name}", parts)


def _summary(sweep: SweepHistory) -> str:
    counts = Counter(trial.state for trial in sweep.trials)
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    text = f"The sweep is {sweep.state}: {len(sweep.trials)} trials, {states}." if counts else "No trial has begun."
    if sweep.best is None:
        return f"{text} None has a value of {sweep.config.objectives[0]}."
    values = ", ".join(f"{name} {number(value)}" for name, value in sweep.best.values.items())
    return f"{text} The best is {sweep.best.trial} with {values}."


def _ordered(sweep: SweepHistory) -> list[TrialHistory]:
    """The trials, the best in the first objective first, those without it last."""
    objective = sweep.config.objectives[0]
    sign = -1 if direction(objective) == "maximize" else 1

    def key(trial: TrialHistory) -> tuple[bool, float, str]:
        value = trial.values.get(objective)
        return value is None, sign * (value or 0.0), trial.trial

    return sorted(sweep.trials, key=key)


def _trials(sweep: SweepHistory, trials: Sequence[TrialHistory], caption: str) -> Table:
    fields = list(sweep.config.domains)
    rows = [
        [
            trial.trial,
            trial.state,
            *(number(trial.draw.get(field)) for field in fields),
            number(trial.step),
            *(number(trial.values.get(name)) for name in sweep.config.objectives),
        ]
        for trial in trials
    ]
    return Table(["trial", "state", *fields, "step", *sweep.config.objectives], rows, caption, left=2 + len(fields))


def _figures(sweep: SweepHistory) -> list[Figure]:
    """Objectives over hyperparameters, and what is there of importance and front."""
    front = [trial for trial in sweep.trials if trial.trial in sweep.front]
    shown = [
        trial for trial in sweep.trials if trial.state in ("finished", "stopped") and _is_drawn(sweep.config, trial)
    ]
    drawn = draw_figures(sweep.config, shown, front, sweep.importance) if shown else {}
    about = {
        "trials": ("Objectives over hyperparameters", _trials(sweep, shown, "Trials with their objectives.")),
        "importance": ("Importance of the hyperparameters", _importance(sweep)),
        "front": ("The front of the first two objectives", _trials(sweep, front, "Trials of the front.")),
    }
    return [
        Figure(f"sweep-{name}", about[name][0], _inline(svg), f"{about[name][0]}, a point or bar each.", about[name][1])
        for name, svg in drawn.items()
    ]


def _is_drawn(config: SweepConfig, trial: TrialHistory) -> bool:
    """Whether each value that a trial drew has its place on an axis, which it has not in a run of another version."""
    return all(
        trial.draw.get(field) in domain.labels if domain.choice else isinstance(trial.draw.get(field), int | float)
        for field, domain in config.domains.items()
    )


def _importance(sweep: SweepHistory) -> Table:
    rows = [
        [objective, field, f"{share:.2f}"]
        for objective, shares in sweep.importance.items()
        for field, share in sorted(shares.items(), key=lambda item: item[1], reverse=True)
    ]
    caption = "The share of each hyperparameter in what set the best trials apart (PED-ANOVA)."
    return Table(["objective", "hyperparameter", "importance"], rows, caption, left=2)


def _inline(svg: bytes) -> str:
    """A drawing without the head of a file."""
    text = svg.decode()
    return text[text.index("<svg") :]


def _early(sweep: SweepHistory, trial: TrialHistory) -> str:
    """Why a trial was stopped early: the event of its run, or the scheduler."""
    events = read_journal(sweep.folder, f"trials/{trial.trial}/{EVENTS}")
    told = [event["reason"] for event in events if event["event"] == "stopped early"]
    return str(told[-1]) if told else f"by the scheduler, {sweep.config.scheduler}"


def _reasons(trials: Sequence[TrialHistory], reasons: Sequence[str], caption: str) -> Table:
    rows = [[trial.trial, reason or NOTHING, number(trial.step)] for trial, reason in zip(trials, reasons, strict=True)]
    return Table(["trial", "reason", "last step"], rows, caption, left=2)


def _best(sweep: SweepHistory) -> list[str | Table]:
    """What the best trial changed of the base, and how to train it."""
    best = sweep.best
    if best is None:
        return []
    rows = [
        [field, _text(value_at(sweep.base, field)), _text(value)]
        for field, value in _changes(sweep.config, best).items()
    ]
    table = Table(["field", "base", "best"], rows, f"What the best trial, {best.trial}, changed of the base.", left=1)
    if not sweep.folder.exists("best.toml"):
        return [table]
    return [
        table,
        f"Its whole config is best.toml in the folder of the sweep: cli-ray train {sweep.folder.uri}/best.toml",
    ]


def _changes(config: SweepConfig, trial: TrialHistory) -> dict[str, Any]:
    """The fields that a trial drew, those of its arm one by one."""
    changes = {field: value for field, value in trial.draw.items() if field != ARM}
    return changes | config.arms.get(trial.draw.get(ARM, ""), {})


def _text(value: Any) -> str:
    """A value of a config for people."""
    return number(value) if value is None or isinstance(value, str | int | float) else json.dumps(value)
