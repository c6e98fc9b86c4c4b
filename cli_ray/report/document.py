"""The document: which sections a report on some folders has, and its verdict. Called by `cli-ray report` and demo."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import cli_ray
from cli_ray.report import run as run_sections
from cli_ray.report.benchmarks import benchmarks
from cli_ray.report.gates import benchmark_gates, training_gates
from cli_ray.report.page import Report
from cli_ray.report.section import Section
from cli_ray.report.several import Curves, differing_fields, growing_scores, side_by_side
from cli_ray.report.sweep import sweep_section
from cli_ray.report.trends import read_trends
from cli_ray.storage.lines import now
from cli_ray.text import first_line
from cli_ray.watch.history import RunHistory, read_run
from cli_ray.watch.kinds import kind_of
from cli_ray.watch.sweeps import read_sweep

TONES: dict[str, Literal["good", "bad", "plain"]] = {"ended": "good", "failed": "bad", "silent": "bad"}


def document(folders: Sequence[str]) -> Report:
    """The report on runs, sweeps and results, in any mixture and number.

    Args:
        folders: paths or pyarrow URIs. The first results are the baseline of the others.

    Raises:
        UserError: a folder is none of the three.
    """
    of_kind: dict[str, list[str]] = {"run": [], "sweep": [], "results": []}
    for folder in dict.fromkeys(folders):
        of_kind[kind_of(folder)].append(folder)
    runs = _named(of_kind["run"])
    sections = [*_runs(runs), *_sweeps(of_kind["sweep"]), *_results(of_kind["results"])]
    others = [folder.rstrip("/").rpartition("/")[2] for folder in (*of_kind["sweep"], *of_kind["results"])]
    title = ", ".join([*runs, *others])
    verdict, tone = _verdict(runs, sections)
    made = f"Made by cli_ray {cli_ray.__version__} at {now()[:16]} UTC from {', '.join(folders)}."
    return Report(title if len(title) <= 120 else f"{len(folders)} folders", verdict, tone, sections, made)


def _named(folders: Sequence[str]) -> dict[str, RunHistory]:
    """The runs by their names; by their folders where two have one name."""
    runs = [read_run(folder) for folder in folders]
    names = [run.folder.uri.rpartition("/")[2] for run in runs]
    return {name if names.count(name) == 1 else run.folder.uri: run for name, run in zip(names, runs, strict=True)}


def _runs(runs: dict[str, RunHistory]) -> Iterator[Section]:
    curves = {name: read_trends(run.metrics()) for name, run in runs.items()}
    if len(runs) > 1:
        yield from _made(
            ("Runs side by side", lambda: side_by_side(runs, curves)),
            ("Configs", lambda: differing_fields(runs)),
            ("Scores over steps", lambda: growing_scores(curves)),
        )
        return
    for name, run in runs.items():
        yield from _run(run, curves, name)


def _run(run: RunHistory, curves: Curves, name: str) -> Iterator[Section]:
    own = curves[name]
    evaluated = [event for event in run.events if event["event"] == "evaluation"]
    yield from _made(
        ("Overview", lambda: run_sections.overview(run, own)),
        ("Loss", lambda: run_sections.learning(run, own)),
        ("Evaluated checkpoints", lambda: run_sections.scores(run, own)),
        ("Gates", lambda: training_gates(run)),
        ("Speed and memory", lambda: run_sections.speed(run, own)),
        ("What happened", lambda: run_sections.happenings(run)),
        ("Quarantine", lambda: run_sections.quarantine(run)),
    )
    if evaluated:
        yield from _results([f"{run.folder.uri}/{evaluated[-1]['path']}"])
    yield from _made(("Config and versions", lambda: run_sections.settings(run)))


def _sweeps(folders: Sequence[str]) -> Iterator[Section]:
    for folder in folders:
        yield from _made((f"Sweep {folder}", partial(_sweep, folder)))


def _sweep(folder: str) -> Section:
    return sweep_section(read_sweep(folder))


def _results(folders: Sequence[str]) -> Iterator[Section]:
    if folders:
        yield from _made(("Benchmarks", lambda: benchmarks(folders)))
    for folder in folders:
        yield from _made((f"Gates of {folder}", partial(benchmark_gates, folder)))


def _made(*makers: tuple[str, Callable[[], Section | None]]) -> Iterator[Section]:
    """The sections that there are. One that cannot be made says why in its place, and the others stand."""
    for title, make in makers:
        try:
            section = make()
        except Exception as error:  # files of any version, half-written or damaged
            fault = f"This part cannot be shown: {type(error).__name__}: {first_line(error)}"
            section = Section("fault", title, [fault])
        if section is not None:
            yield section


def _verdict(runs: dict[str, RunHistory], sections: Sequence[Section]) -> tuple[str, Literal["good", "bad", "plain"]]:
    """What came of it, a line for each run, sweep and comparison."""
    lines = [_outcome(name, run) for name, run in runs.items()]
    if len(runs) > 4:
        states = Counter(run.state.name for run in runs.values())
        lines = [f"{len(runs)} runs: {', '.join(f'{count} {state}' for state, count in states.most_common())}."]
    for section in sections:
        if section.name in ("sweep", "benchmarks") and isinstance(section.parts[0], str):
            lines.append(section.parts[0])
    tones = {TONES.get(run.state.name, "plain") for run in runs.values()}
    tone: Literal["good", "bad", "plain"] = "bad" if "bad" in tones else "good" if tones == {"good"} else "plain"
    return "\n".join(lines), tone


def _outcome(name: str, run: RunHistory) -> str:
    step = "" if run.state.step is None else f" at step {run.state.step:,}"
    return f"{name}: {run.state.name}{step}" + (f": {run.state.reason}" if run.state.reason else ".")
