"""Views: what a run, a sweep or an evaluation does at the moment, as tables of rich.

Drawn by `cli-ray watch`, and by `cli-ray train`, `tune` and `eval` below their lines. All text of files goes through
`printable` into `Text`, so that no name or error steers the terminal.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli_ray.text import NOTHING, duration, printable
from cli_ray.watch.history import RunHistory
from cli_ray.watch.results import ResultsHistory, read_results
from cli_ray.watch.sweeps import SweepHistory

STYLES = {"running": "green", "ended": "bold green", "finished": "bold green", "failed": "bold red"}
"""By state; yellow for all others."""
PACE = 20
"""Logged steps whose pace tells the time that is left."""
SHOWN_EVENTS = 5
LONGEST = 300
"""Characters of an event or a reason that are shown."""


def run_view(history: RunHistory) -> RenderableType:
    """The table of a run: how far it is, how it learns, how fast it is, and what happened last."""
    steps = history.steps()
    table = Table.grid(padding=(0, 2))
    for name, text in _run_lines(history, steps):
        table.add_row(Text(name, style="dim"), clean(text))
    return Group(_head(history, steps), table, _events(history.events))


def sweep_view(sweep: SweepHistory) -> RenderableType:
    """The table of a sweep: its trials, the one that is best in the first objective first."""
    objectives, fields, best = sweep.config.objectives, list(sweep.config.domains), sweep.best
    table = Table(box=None, header_style="dim")
    for name in ("trial", "state", *fields):
        table.add_column(clean(name))
    for name in ("step", *objectives):
        table.add_column(clean(name), justify="right")
    for trial in sorted(sweep.trials, key=lambda trial: trial != best):
        cells = [clean(trial.trial), Text(trial.state, STYLES.get(trial.state, "yellow"))]
        cells += [clean(number(trial.draw.get(field))) for field in fields]
        cells += [Text(number(value)) for value in (trial.step, *(trial.values.get(name) for name in objectives))]
        table.add_row(*cells, style="bold" if trial == best else "")
    reasons = [f"{trial.trial} {trial.state}: {trial.reason}" for trial in sweep.trials if trial.reason]
    return Group(clean(sweep_line(sweep)), table, *(clean(reason) for reason in reasons))


def results_view(results: ResultsHistory, rate: float | None = None) -> RenderableType:
    """The table of an evaluation.

    Args:
        results: what its folder tells.
        rate: samples per second of all benchmarks; None where it is not known.
    """
    table = Table("benchmark", box=None, header_style="dim")
    for name in ("done/total", "score"):
        table.add_column(name, justify="right")
    for benchmark in results.benchmarks:
        count = f"{benchmark.done:,}/{NOTHING if benchmark.total is None else f'{benchmark.total:,}'}"
        note = "" if benchmark.row is None or benchmark.is_complete else " (incomplete)"
        table.add_row(clean(benchmark.title), count, benchmark.score + note)
    return Group(clean(results_line(results, rate)), table)


def run_line(history: RunHistory) -> str:
    """A run in a line: name, state and how far it is, with its loss."""
    steps = history.steps()
    loss = f", loss {number(steps[-1]['loss'])}" if steps else ""
    return _head(history, steps).plain.partition("\n")[0] + loss


def sweep_line(sweep: SweepHistory) -> str:
    """A sweep in a line: how many of its trials are over, and the best so far."""
    over = sum(trial.state in ("finished", "stopped", "failed") for trial in sweep.trials)
    line = f"{sweep.config.name}: {sweep.state}, {over} of {len(sweep.trials)} begun trials are over"
    if sweep.best is None:
        return line
    values = ", ".join(f"{name} {number(value)}" for name, value in sweep.best.values.items())
    return f"{line}, best: {sweep.best.trial} with {values}"


def results_line(results: ResultsHistory, rate: float | None = None) -> str:
    """An evaluation in a line: how many of its samples are done, and how fast.

    Args:
        results: what its folder tells.
        rate: samples per second of all benchmarks; None where it is not known.
    """
    totals = [benchmark.total for benchmark in results.benchmarks]
    known = sum(total or 0 for total in totals)
    line = f"{results.model}: {results.state}, {results.done:,} of {known:,} samples"
    if not rate:
        return line
    left = "" if None in totals else f", {duration((known - results.done) / rate)} left"
    return f"{line}, {rate:.1f} samples/s{left}"


def clean(text: str, longest: int = LONGEST) -> Text:
    """A text of a file as one line that neither markup nor control characters change, shortened where it is long."""
    line = printable(" ".join(text.split()))
    return Text(line if len(line) <= longest else line[:longest] + " ...")


def number(value: Any) -> str:
    """A value of a table: short where it is a number, and a dash where there is none."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return NOTHING if value is None else str(value)


def ago(time: str) -> str:
    """How long ago a time of a journal was, such as `2 min 05 s ago`."""
    return f"{duration((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())} ago"


def total_steps(history: RunHistory) -> int | None:
    """Steps of the whole run; None where neither an event nor the config says."""
    for event in reversed(history.events):
        if "steps" in event:
            return int(event["steps"])
    return history.config.train.max_steps if history.config else None


def left_s(steps: Sequence[dict[str, Any]], total: int | None) -> float | None:
    """Seconds to the end of a run at the pace of its last logged steps; None where that cannot be told.

    Args:
        steps: lines of metrics.jsonl of logged steps.
        total: steps of the whole run.
    """
    # The median, for between two lines there may have been a restart.
    pace = [
        (_seconds(after) - _seconds(before)) / (after["step"] - before["step"])
        for before, after in pairwise(steps[-PACE:])
        if after["step"] > before["step"]
    ]
    return median(pace) * (total - steps[-1]["step"]) if pace and total is not None else None


def _seconds(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["time"]).timestamp()


def _head(history: RunHistory, steps: Sequence[dict[str, Any]]) -> Text:
    """Name, state and how far it is."""
    state, total = history.state, total_steps(history)
    name = history.config.name if history.config else history.folder.uri.rpartition("/")[2]
    head = clean(name)
    head.append(": ").append(state.name, STYLES.get(state.name, "yellow"))
    if state.step is not None:
        head.append(f", step {state.step:,}" + (f"/{total:,} ({state.step / total:.0%})" if total else ""))
    left = left_s(steps, total) if state.name == "running" else None
    if left:
        head.append(f", {duration(left)} left")
    if state.name != "running" and state.time:
        head.append(f", {'since' if state.name == 'silent' else 'at'} {state.time[:19]} UTC")
    if state.reason:
        head.append("\n").append_text(clean(state.reason, 10 * LONGEST))
    return head


def _run_lines(history: RunHistory, steps: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What a view says of a run, by name."""
    if history.config_error and history.state.name != "not started":
        yield "config", history.config_error
    if steps:
        yield from _step_lines(steps[-1])
    last = {event["event"]: event for event in history.events}
    if event := last.get("validation"):
        yield "validation", f"{number(event['loss'])} at step {event['step']:,}"
    if event := last.get("checkpoint"):
        took = f", written in {duration(event['seconds'])}" if "seconds" in event else ""
        yield "checkpoint", f"step {event['step']:,}, {ago(event['time'])}{took}"
    if event := last.get("evaluation"):
        scores = ", ".join(f"{name} {number(score)}" for name, score in event.get("scores", {}).items())
        yield "evaluation", f"step {event['step']:,}: {scores or event['path']}"
    if (event := last.get("evaluation started")) and not _is_over(event["step"], history):
        results = read_results(f"{history.folder.uri}/evals/step-{event['step']:08d}")
        done = [f"{one.title} {one.score or f'{one.done:,}/{one.total or 0:,}'}" for one in results.benchmarks]
        yield "evaluating", f"step {event['step']:,}: {', '.join(done)}"


def _is_over(step: int, history: RunHistory) -> bool:
    over = ("evaluation", "evaluation failed")
    return any(event["event"] in over and event.get("step") == step for event in history.events)


def _step_lines(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the last logged step says."""
    sources = ", ".join(f"{name[5:]} {number(value)}" for name, value in row.items() if name.startswith("loss/"))
    yield "loss", number(row["loss"]) + (f" ({sources})" if sources else "")
    speed = [f"{row[name]:,.0f} {name}" for name in ("tokens/s", "samples/s") if name in row]
    speed += [f"{row['TFLOP/s']:.3g} TFLOP/s"] if "TFLOP/s" in row else []
    yield "speed", ", ".join(speed + ([f"MFU {row['mfu']:.1%}"] if "mfu" in row else []))
    waits = {"data_wait_ms": "waiting for data", "rank_wait_ms": "for other ranks"}
    parts = [f"{title} {_over_ranks(row, name)}" for name, title in waits.items() if f"{name}/max" in row]
    yield "step", ", ".join([f"{row['step_ms']:,.0f} ms", *parts])
    yield (
        "memory",
        f"{row['peak_GiB']:.2f} GiB" + (f", padding {row['padding_share']:.1%}" if "padding_share" in row else ""),
    )
    yield "quarantine", f"{row['bad_samples']:,} of {row['samples'] + row['bad_samples']:,} samples"


def _over_ranks(row: dict[str, Any], name: str) -> str:
    """The median of the ranks and the largest: `100 ms (rank 3: 130)`."""
    middle, largest = f"{row[f'{name}/median']:,.0f}", f"{row[f'{name}/max']:,.0f}"
    return f"{middle} ms" + ("" if middle == largest else f" (rank {row[f'{name}/rank']}: {largest})")


def _events(events: Sequence[dict[str, Any]]) -> Table:
    """The last events, newest last."""
    table = Table.grid(padding=(0, 2))
    for event in events[-SHOWN_EVENTS:]:
        rest = {name: value for name, value in event.items() if name not in ("time", "event", "injection")}
        text = ", ".join(f"{name} {number(value)}" for name, value in rest.items() if value is not None)
        table.add_row(Text(str(event.get("time", ""))[:19], style="dim"), clean(event["event"]), clean(text))
    return table
