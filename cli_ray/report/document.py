"""The document: which sections a report on some folders has, and its verdict. Called by `cli-ray report` and demo."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import cli_ray
from cli_ray.evals.benchmark import Benchmark
from cli_ray.report import run as run_sections
from cli_ray.report.benchmarks import benchmarks
from cli_ray.report.gates import benchmark_gates, training_gates
from cli_ray.report.page import Report
from cli_ray.report.quarantine import quarantine
from cli_ray.report.section import Section, Tone
from cli_ray.report.several import Curves, differing_fields, growing_scores, side_by_side
from cli_ray.report.sweep import sweep_section
from cli_ray.report.trends import Trend, read_trends
from cli_ray.storage.lines import now
from cli_ray.text import first_line
from cli_ray.watch.history import RunHistory, read_run
from cli_ray.watch.kinds import kind_of
from cli_ray.watch.sweeps import read_sweep

TONES: dict[str, Tone] = {"ended": "good", "failed": "bad", "silent": "bad"}
FEW = 4
"""Runs that the verdict names one by one, and whose gates are shown."""
LONGEST_TITLE = 120


def document(folders: Sequence[str], own: Mapping[str, Benchmark] | None = None) -> Report:
    """The report on runs, sweeps and results, in any mixture and number.

    Args:
        folders: paths or pyarrow URIs. The first results are the baseline of the others.
        own: own benchmarks by name, see `cli_ray.evals.results.compare`.

    Raises:
        UserError: a folder is none of the three.
    """
    of_kind: dict[str, list[str]] = {"run": [], "sweep": [], "results": []}
    for folder in dict.fromkeys(folders):
        of_kind[kind_of(folder)].append(folder)
    runs = _named(of_kind["run"])
    curves = {name: read_trends(run.metrics()) for name, run in runs.items()}
    sections = [*_runs(runs, curves), *_sweeps(of_kind["sweep"]), *_results(of_kind["results"], own)]
    verdict = [*_outcomes(runs, curves), *(section.summary for section in sections if section.summary)]
    others = [folder.rstrip("/").rpartition("/")[2] for folder in (*of_kind["sweep"], *of_kind["results"])]
    title = ", ".join(dict.fromkeys([*runs, *others]))
    title = title if len(title) <= LONGEST_TITLE else f"{len(folders)} runs, sweeps and results"
    made = f"Made by cli_ray {cli_ray.__version__} at {now()[:16]} UTC from {', '.join(folders)}."
    return Report(title, "\n".join(verdict), _tone(runs), sections, made)


def _named(folders: Sequence[str]) -> dict[str, RunHistory]:
    """The runs by their names; by their folders where two have one name."""
    runs = [read_run(folder) for folder in folders]
    names = [run.folder.uri.rpartition("/")[2] for run in runs]
    return {name if names.count(name) == 1 else run.folder.uri: run for name, run in zip(names, runs, strict=True)}


def _runs(runs: dict[str, RunHistory], curves: Curves) -> Iterator[Section]:
    if len(runs) == 1:
        ((name, run),) = runs.items()
        yield from _run(run, curves[name])
    elif runs:
        yield from _made(
            ("Runs side by side", lambda: side_by_side(runs, curves)),
            ("Configs", lambda: differing_fields(runs)),
            ("Scores over steps", lambda: growing_scores(curves)),
        )
        for name, run in runs.items() if len(runs) <= FEW else ():
            yield from _made((f"Gates of {name}", partial(training_gates, run, name)))


def _run(run: RunHistory, curves: Mapping[str, Trend]) -> Iterator[Section]:
    yield from _made(
        ("Overview", lambda: run_sections.overview(run, curves)),
        ("Loss", lambda: run_sections.learning(curves)),
        ("Evaluated checkpoints", lambda: run_sections.scores(curves)),
        ("Gates", lambda: training_gates(run)),
        ("Speed and memory", lambda: run_sections.speed(run, curves)),
        ("What happened", lambda: run_sections.happenings(run)),
        ("Quarantine", lambda: quarantine(run)),
    )
    evaluations = [event["path"] for event in run.events if event["event"] == "evaluation"]
    yield from _results([f"{run.folder.uri}/{path}" for path in evaluations[-1:]])
    yield from _made(("Config and versions", lambda: run_sections.settings(run)))


def _sweeps(folders: Sequence[str]) -> Iterator[Section]:
    for folder in folders:
        yield from _made((f"Sweep {folder}", partial(_sweep, folder)))


def _sweep(folder: str) -> Section:
    return sweep_section(read_sweep(folder))


def _results(folders: Sequence[str], own: Mapping[str, Benchmark] | None = None) -> Iterator[Section]:
    if folders:
        yield from _made(("Benchmarks", lambda: benchmarks(folders, own)))
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


def _outcomes(runs: dict[str, RunHistory], curves: Curves) -> list[str]:
    """What came of each run; of many, how many came to what."""
    if len(runs) > FEW:
        states = Counter(run.state.name for run in runs.values())
        return [f"{len(runs)} runs: {', '.join(f'{count} {state}' for state, count in states.most_common())}."]
    return [_outcome(name, run, curves[name]) for name, run in runs.items()]


def _outcome(name: str, run: RunHistory, curves: Mapping[str, Trend]) -> str:
    step = "" if run.state.step is None else f" at step {run.state.step:,}"
    known = [("loss", "loss"), ("validation loss", "validation_loss")]
    losses = [f"{label} {curves[metric].last:.4g}" for label, metric in known if metric in curves]
    numbers = f" with {', '.join(losses)}" if losses else ""
    return f"{name}: {run.state.name}{step}{numbers}" + (f": {run.state.reason}" if run.state.reason else ".")


def _tone(runs: dict[str, RunHistory]) -> Tone:
    tones = {TONES.get(run.state.name, "plain") for run in runs.values()}
    return "bad" if "bad" in tones else "good" if tones == {"good"} else "plain"
