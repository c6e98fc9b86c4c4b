"""What lies below a folder: its runs, sweeps and results, each in a line. Called by `cli-ray runs`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyarrow import fs

from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.watch.history import read_run
from cli_ray.watch.kinds import Kind, kind_of_folder
from cli_ray.watch.results import read_results
from cli_ray.watch.sweeps import read_sweep
from cli_ray.watch.views import number, total_steps

DEPTH = 3
"""Folders within folders that are looked into: sweeps lie in `runs/sweeps/`."""
THREADS = 16
"""Folders that are read at once, for object stores answer late."""


@dataclass(frozen=True)
class Entry:
    """A run, a sweep or results in a line; what is not known is None or empty."""

    kind: Kind
    name: str
    """Of its folder, below the one that was listed."""
    state: str
    reason: str
    step: int | None
    """Steps of a run, trials of a sweep that are over, or samples that are done."""
    total: int | None
    loss: float | None
    validation_loss: float | None
    score: str
    """Of a run its best evaluation, of a sweep its best trial, of results the mean or the only one."""
    time: str
    """In UTC, of the last sign of life or of the end."""


def list_folder(uri: str) -> list[Entry]:
    """The runs, sweeps and results below a folder, newest first; what lies in one of them is not listed by itself.

    Args:
        uri: a path or a pyarrow URI.
    """
    root = Folder(uri)
    with ThreadPoolExecutor(THREADS) as pool:
        entries = list(pool.map(lambda found: _entry(root, *found), _walk(root, "", DEPTH)))
    return sorted(entries, key=lambda entry: (entry.time, entry.name), reverse=True)


def _walk(root: Folder, name: str, depth: int) -> Iterator[tuple[str, Kind]]:
    """Names and kinds of what can be listed, in a folder and those below it."""
    folder = Folder(_below(root, name))
    infos = folder.fs.get_file_info(fs.FileSelector(folder.path, allow_not_found=True))
    kind = kind_of_folder(folder, [info.base_name for info in infos])
    if kind:
        yield name, kind
    elif depth:
        for info in infos:
            if info.type == fs.FileType.Directory:
                yield from _walk(root, f"{name}/{info.base_name}".lstrip("/"), depth - 1)


def _below(root: Folder, name: str) -> str:
    return f"{root.uri}/{name}" if name else root.uri


def _entry(root: Folder, name: str, kind: Kind) -> Entry:
    uri = _below(root, name)
    name = name or root.path.rpartition("/")[2]
    try:
        return {"run": _run, "sweep": _sweep, "results": _results}[kind](uri, name)
    except UserError as error:  # others can be listed
        return Entry(kind, name, "unreadable", str(error), None, None, None, None, "", "")


def _run(uri: str, name: str) -> Entry:
    run = read_run(uri)
    steps, losses, scores = run.steps(), [], []
    for event in run.events:
        if event["event"] == "validation":
            losses.append(event["loss"])
        elif event["event"] == "evaluation":
            scores.append(event.get("scores", {}))
    return Entry(
        kind="run",
        name=name,
        state=run.state.name,
        reason=run.state.reason,
        step=run.state.step,
        total=total_steps(run),
        loss=steps[-1]["loss"] if steps else None,
        validation_loss=losses[-1] if losses else None,
        score=_best(scores),
        time=run.state.time,
    )


def _best(evaluations: list[dict[str, float | None]]) -> str:
    """The highest score in the first benchmark."""
    name = next((name for scores in evaluations for name in scores), None)
    known = [value for scores in evaluations if (value := scores.get(name or "")) is not None]
    return f"{name} {max(known):.2f}" if known else ""


def _sweep(uri: str, name: str) -> Entry:
    sweep = read_sweep(uri)
    objective, best = sweep.config.objectives[0], sweep.best
    over = sum(trial.state in ("finished", "stopped", "failed") for trial in sweep.trials)
    is_grid = sweep.config.search == "grid"
    score = f"{objective} {number(best.values[objective])}" if best else ""
    total = len(sweep.trials) if is_grid else sweep.config.num_trials
    return Entry("sweep", name, sweep.state, "", over, total, None, None, score, sweep.time)


def _results(uri: str, name: str) -> Entry:
    results = read_results(uri)
    totals = [benchmark.total for benchmark in results.benchmarks]
    total = sum(total or 0 for total in totals) if None not in totals else None
    return Entry("results", name, results.state, "", results.done, total, None, None, results.score, results.time)
