"""`cli-ray drill CONFIG.toml [--kill worker node ...]`: whether a training survives what a cluster may do to it."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from cli_ray.config import RunConfig
from cli_ray.config.base import Section
from cli_ray.config.load import arguments, load, split
from cli_ray.drill.plan import KINDS, LEAST_NODES, Kind, Room, check_drill, plan, rooms
from cli_ray.errors import UserError
from cli_ray.text import NOTHING, grid

if TYPE_CHECKING:
    from cli_ray.drill.outcome import Outcome, SampleCounts
    from cli_ray.drill.plan import Course

PROG = "cli-ray drill CONFIG.toml"
HEAD = ("kill", "moment", "at step", "redone", "recovery", "whole run", "loss difference", "twice", "missing",
        "exit code")  # fmt: skip


class DrillArguments(Section):
    """Runs the training of a config undisturbed, then once per kill, on a Ray cluster of some nodes that it starts on
    this machine, and compares the runs. `--section.field value` changes the config as in `cli-ray train`; few steps
    and several checkpoints, such as --train.max-steps 40 --checkpoint.every 10, make a good drill."""

    kill: tuple[Kind, ...] = KINDS
    """What is hit: a Ray Train worker, its controller or a node (SIGKILL), the driver (SIGKILL, then the same command
    again), the storage of checkpoints (gone for some seconds); or is announced: a node's preemption 30 s before it
    dies, Ctrl-C. Named, also a helper (SIGKILL): the driver's pulse, Ray Train's watcher of preemptions, barrier or
    datasets, Ray Data's statistics, coordinator or a reader, a node's agent."""
    times: int = Field(default=1, ge=1)
    """Kills of each kind, each in a run of its own."""
    seed: int = Field(default=0, ge=0)
    """Seed of the moments and the victims."""
    nodes: int = Field(default=LEAST_NODES, ge=LEAST_NODES)
    """Nodes of the cluster, beside a head that trains nothing."""
    runs_dir: Path | None = None
    """Local folder that keeps the runs; when not given, they are deleted unless one came out otherwise."""


def main(words: list[str]) -> None:
    """Drills a config and prints how each disturbed run compares with the undisturbed one."""
    if not words or words[0].startswith("-"):
        if {"-h", "--help"} & set(words):
            arguments(DrillArguments, ["--help"], PROG)
        raise UserError(f"name a config first: {PROG} [--kill worker node ...] [--times n]")
    own, overrides = split(words[1:])
    settings = arguments(DrillArguments, own, PROG)
    config = load(words[0], overrides)
    if settings.runs_dir:
        from cli_ray.preflight import check_output

        check_output("--runs-dir", str(settings.runs_dir))
    check_drill(config.cluster, settings.kill)
    nodes = rooms(config.cluster, settings.nodes, _gpus() if config.cluster.gpus_per_worker else 0)
    runs_dir = settings.runs_dir.absolute() if settings.runs_dir else Path(tempfile.mkdtemp(prefix="drill"))
    runs_dir.mkdir(parents=True, exist_ok=True)
    print(_announcement(config, settings, nodes, runs_dir), flush=True)
    outcomes = _drill([words[0], *overrides, *aside(config)], config, settings, nodes, runs_dir)
    print(f"\n{table(outcomes)}")
    unsound = sum(not outcome.sound for outcome in outcomes)
    if unsound:
        raise UserError(f"{unsound} of {len(outcomes)} disturbed runs came out otherwise; all runs are in {runs_dir}")
    if settings.runs_dir is None:
        shutil.rmtree(runs_dir)
    print(f"\n{len(outcomes)} of {len(outcomes)} disturbed runs came out as the undisturbed one")


def aside(config: RunConfig) -> list[str]:
    """Arguments by which a drill changes the config: a worker takes one logical CPU, no tracker is used, and no
    checkpoint is evaluated."""
    words = ["--cluster.cpus-per-worker", "1"]
    if config.evaluation.every:
        words += ["--evaluation.every", "0"]
    return [*words, "--log.sinks"] if config.log.sinks else words


def table(outcomes: "Sequence[Outcome]") -> str:
    """A line a kill."""
    return grid(HEAD, [cells(outcome) for outcome in outcomes], left=2)


def cells(outcome: "Outcome") -> list[str]:
    """The line of a kill, as HEAD names its parts."""
    difference, counts = outcome.difference, outcome.samples
    largest, step = difference.largest, difference.step
    loss = f"{largest:g}" if step is None else f"{largest:.3g} at step {step}"
    lost = f", {len(difference.missing)} steps missing" if difference.missing else ""
    surplus = f", {len(difference.surplus)} steps twice" if difference.surplus else ""
    return [
        outcome.kill.kind,
        outcome.kill.moment,
        str(outcome.step),
        str(outcome.redone),
        NOTHING if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s",
        f"{outcome.whole_s:.1f} s",
        f"{loss}{lost}{surplus}",
        *((NOTHING, NOTHING) if counts is None else (str(counts.twice), str(counts.missing))),
        "hung" if outcome.exit_code is None else str(outcome.exit_code),
    ]


def samples(run: Path) -> "SampleCounts | None":
    """The samples of a run that came twice or are missing, by its ledger; None when it has none."""
    from cli_ray.drill.outcome import SampleCounts
    from cli_ray.train.ledger_check import verification

    try:
        result = verification(str(run), limit=0)
    except UserError:
        return None
    twice = sum(count.twice + count.unknown for count in result.epochs)
    return SampleCounts(twice, sum(count.missing for count in result.epochs) + len(result.damaged))


def _drill(
    words: list[str], config: RunConfig, settings: DrillArguments, nodes: list[Room], runs_dir: Path
) -> "list[Outcome]":
    from cli_ray.drill.drill import Drill
    from cli_ray.drill.job import JobError
    from cli_ray.drill.site import Site

    outcomes = []
    site = Site(nodes)
    try:
        drill = Drill(site, words, config.checkpoint.every, runs_dir, config.cluster.timeout_s, samples)
        kills = plan(settings.kill, settings.times, settings.seed, drill.course)
        print(course_line(drill.course, len(kills)), flush=True)
        for kill in kills:
            outcomes.append(drill.disturbed(kill))
            print(" | ".join(cells(outcomes[-1])), flush=True)
            if outcomes[-1].fault:
                print(outcomes[-1].fault, flush=True)
    except JobError as error:
        raise UserError(f"the undisturbed run failed: {error}") from None
    finally:
        site.close()
    return outcomes


def course_line(course: "Course", kills: int) -> str:
    """How the undisturbed run went, and how long the others will take: each starts twice at most."""
    minutes = kills * (course.whole_s + course.start_s) / 60
    return (
        f"undisturbed: {course.steps} steps in {course.whole_s:.0f} s, {course.start_s:.0f} s of it to the first step; "
        f"{kills} kills will take about {minutes:.0f} min"
    )


def _announcement(config: RunConfig, settings: DrillArguments, nodes: list[Room], runs_dir: Path) -> str:
    """What will run, in a line."""
    steps = f"{config.train.max_steps} steps at most" if config.train.max_steps else f"{config.train.epochs:g} epochs"
    kills = settings.times * len(settings.kill)
    return (
        f"drill of {config.name}: {config.cluster.num_workers} workers on {len(nodes)} nodes, {steps}, a checkpoint "
        f"every {config.checkpoint.every} steps; {kills + 1} runs, {kills} with a kill, in {runs_dir}"
    )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
