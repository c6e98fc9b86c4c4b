"""The sections of a run: what came of it, its curves, what happened to it, and how to repeat it."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

import tomli_w

from cli_ray.config import RunConfig
from cli_ray.report.figures import trends
from cli_ray.report.quarantine import quarantined, samples_of
from cli_ray.report.section import Code, Part, Section, Table
from cli_ray.report.trends import Trend
from cli_ray.text import NOTHING, duration
from cli_ray.train.run_folder import ENVIRONMENT
from cli_ray.watch.history import RunHistory

EVENTS_SHOWN = 200
ROUTINE = ("checkpoint", "validation")
"""Events that come again and again, and are counted instead of listed."""

Trends = Mapping[str, Trend]


def overview(run: RunHistory, curves: Trends) -> Section:
    """What a reader wants to know first."""
    facts: list[tuple[str, str]] = [("folder", run.folder.uri), ("state", run.state.name)]
    if run.state.time:
        facts.append(("last sign", run.state.time))
    begins = [event for event in run.events if event["event"] == "begin"]
    if begins:
        facts.append(("steps", f"{run.state.step or 0:,} of {begins[-1].get('steps', NOTHING)}"))
        facts.append(("workers", f"{begins[-1].get('workers', NOTHING)}"))
    known = [("loss", "loss", ".4g"), ("validation loss", "validation_loss", ".4g"), ("tokens/s", "tokens/s", ",.0f")]
    facts += [(label, format(curves[name].last, form)) for label, name, form in known if name in curves]
    if "mfu" in curves:
        facts.append(("MFU", f"{curves['mfu'].last:.1%}"))
    counts = Counter(event["event"] for event in run.events)
    facts.append(("checkpoints", f"{counts['checkpoint']:,}"))
    facts.append(("restarts and resumes", f"{counts['restart'] + counts['resume']:,}"))
    facts.append(("quarantined samples", f"{sum(samples_of(row) for row in quarantined(run)):,}"))
    return Section("overview", "Overview", [Table(["what", "value"], [list(fact) for fact in facts], left=2)])


def learning(curves: Trends) -> Section | None:
    """Loss in all and by source, validation, gradient norm and learning rates."""
    if "loss" not in curves:
        return None
    of_source = chosen(curves, lambda name: name.startswith("loss/"), "loss/")
    losses = {"all sources": curves["loss"], **(of_source if len(of_source) > 1 else {})}
    parts: list[Part] = ["Lines are smoothed; behind each lies the range of the raw values."]
    parts.append(trends("loss", "Loss a supervised token", losses))
    if len(curves.get("validation_loss", Trend()).buckets) > 1:
        parts.append(trends("validation-loss", "Validation loss", {"validation loss": curves["validation_loss"]}))
    if "grad_norm" in curves:
        norm = trends("gradient-norm", "Norm of the gradient", {"norm": curves["grad_norm"]}, from_zero=True)
        parts.append(norm)
    rates = chosen(curves, lambda name: name.startswith("lr/"), "lr/")
    if rates:
        parts.append(trends("learning-rates", "Learning rate by part", rates, from_zero=True))
    return Section("learning", "Loss", parts)


def speed(run: RunHistory, curves: Trends) -> Section | None:
    """Tokens a second, MFU, where the time of a step goes, padding and memory."""
    if "tokens/s" not in curves:
        return None
    tokens = {"tokens/s": curves["tokens/s"]}
    parts: list[Part] = [trends("tokens", "Tokens a second, all ranks", tokens, from_zero=True)]
    if "mfu" in curves:
        parts.append(trends("mfu", "Model FLOPs utilisation", {"MFU": curves["mfu"]}, from_zero=True))
    times = {
        "compute": "compute_ms/median",
        "wait for other ranks": "rank_wait_ms/median",
        "wait for data": "data_wait_ms/max",
    }
    known = {label: curves[name] for label, name in times.items() if name in curves}
    if known:
        title = "Milliseconds of a step: of the median rank, and of the rank that waited longest for data"
        parts.append(trends("step-time", title, known, from_zero=True))
    if "padding_share" in curves:
        padding = {"padding": curves["padding_share"]}
        parts.append(trends("padding", "Share of positions that are padding", padding, from_zero=True))
    if "peak_GiB" in curves:
        parts.append(trends("memory", "Memory of the fullest rank, GiB", {"peak": curves["peak_GiB"]}, from_zero=True))
    parts.append(f"Where the time goes and what to change: cli-ray why-slow {run.folder.uri}")
    return Section("speed", "Speed and memory", parts)


def scores(curves: Trends) -> Section | None:
    """Benchmarks over the checkpoints that were evaluated."""
    named = chosen(curves, lambda name: name.startswith("eval/") and not name.endswith("_se"), "eval/")
    if not named:
        return None
    errors = chosen(curves, lambda name: name.startswith("eval/") and name.endswith("_se"), "eval/")
    rows = []
    for name, trend in named.items():
        spread = [bucket.mean for bucket in errors[f"{name}_se"].buckets] if f"{name}_se" in errors else []
        for bucket, error in zip_longest(trend.buckets, spread[: len(trend.buckets)]):
            rows.append([name, f"{bucket.step:,}", f"{bucket.mean:.2f}", NOTHING if error is None else f"{error:.2f}"])
    table = Table(["benchmark", "step", "score", "standard error"], rows, "Scores with their standard errors.")
    return Section("scores", "Evaluated checkpoints", [trends("scores", "Scores over steps", named), table])


def happenings(run: RunHistory) -> Section | None:
    """What happened to the run, but for what comes again and again."""
    listed = [event for event in run.events if event["event"] not in ROUTINE]
    if not run.events:
        return None
    parts: list[Part] = []
    for kind in ROUTINE:
        of_kind = [event for event in run.events if event["event"] == kind]
        if of_kind:
            taken = [event["seconds"] for event in of_kind if "seconds" in event]
            times = f", {duration(sum(taken) / len(taken))} each on average" if taken else ""
            parts.append(f"{len(of_kind):,} times {kind}{times}, the last at step {of_kind[-1].get('step', NOTHING)}.")
    left_out = len(listed) - EVENTS_SHOWN
    caption = "Events" + (f", without {left_out:,} between the first and the last" if left_out > 0 else "")
    if left_out > 0:
        listed = [*listed[: EVENTS_SHOWN // 2], *listed[-EVENTS_SHOWN // 2 :]]
    rows = [[event.get("time", ""), event["event"], _details(event)] for event in listed]
    parts.append(Table(["time (UTC)", "event", "details"], rows, caption, left=3))
    return Section("events", "What happened", parts)


def settings(run: RunHistory) -> Section:
    """The config, what of it is not the default, versions, and the command that repeats the run."""
    if run.config is None:
        return Section("config", "Config", [run.config_error])
    changed = changes(run.config)
    values = run.config.model_dump(mode="json")
    rows = [[field, text, "changed" if field in changed else ""] for field, text in flat(values).items()]
    toml = tomli_w.dumps(run.config.model_dump(mode="json", exclude_defaults=True, exclude_none=True))
    parts: list[Part] = [
        Code(toml, "What differs from the defaults: as run.toml, `cli-ray train run.toml` repeats the run"),
        Table(["field", "value", "default"], sorted(rows, key=lambda row: (not row[2], row[0])), "All fields.", left=3),
    ]
    text = run.folder.read(ENVIRONMENT)
    if text:
        versions = [list(item) for item in flat(json.loads(text)).items()]
        parts.append(Table(["what", "value"], versions, "Versions and machines.", left=2))
    return Section("config", "Config and versions", parts)


def changes(config: RunConfig) -> dict[str, str]:
    """The fields that differ from their defaults, by their dotted names."""
    return flat(config.model_dump(mode="json", exclude_defaults=True, exclude_none=True))


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """The leaves of nested values by dotted names, as text."""
    leaves: dict[str, str] = {}
    for name, value in values.items():
        field = f"{above}{name}"
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{field}.")
        else:
            leaves[field] = value if isinstance(value, str) else json.dumps(value)
    return leaves


def chosen(curves: Trends, wanted: Callable[[str], bool], prefix: str) -> dict[str, Trend]:
    """Curves by their names without a prefix."""
    return {name.removeprefix(prefix): trend for name, trend in curves.items() if wanted(name)}


def _details(event: Mapping[str, Any]) -> str:
    """What an event holds besides its time and kind; of a long one the beginning."""
    rest = {name: value for name, value in event.items() if name not in ("time", "event", "injection")}
    text = ", ".join(f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in rest.items())
    return text if len(text) <= 500 else f"{text[:500]}…"
