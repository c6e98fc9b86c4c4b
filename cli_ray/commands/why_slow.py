"""`cli-ray why-slow RUN`: where the time of a run's steps went, and what to change."""

from typing import TYPE_CHECKING, Annotated

import tyro

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments

if TYPE_CHECKING:
    from cli_ray.watch.slowness import Cause
    from cli_ray.watch.times import StepTimes

SHOWN_RANKS = 16


class WhySlowArguments(Section):
    """Says where the time of a run's last steps went on each rank, which rank and which shards were slowest, and which
    field to change, with the gain to expect. Works while the run goes on."""

    run: Annotated[Uri, tyro.conf.Positional]
    """Run folder: a path or a pyarrow URI."""


def main(words: list[str]) -> None:
    """Prints the parts of a step, the ranks and the causes."""
    settings = arguments(WhySlowArguments, words, "cli-ray why-slow")

    from cli_ray.errors import UserError
    from cli_ray.text import printable
    from cli_ray.watch.history import read_run
    from cli_ray.watch.slowness import causes
    from cli_ray.watch.times import outside_s, step_times

    run = read_run(settings.run)
    if run.config is None:
        raise UserError(run.config_error)
    times = step_times(run)
    lines = [*_parts(times), *_ranks(times), *_outside(outside_s(run)), *_verdict(times, causes(times, run.config))]
    print("\n".join(map(printable, lines)))


def _parts(times: "StepTimes") -> list[str]:
    """The parts of a step, the longest first."""
    from cli_ray.text import grid

    parts = sorted(times.parts().items(), key=lambda item: item[1], reverse=True)
    whole = times.whole_ms
    body = [[part, f"{ms:,.1f}", f"{ms / whole:.0%}"] for part, ms in parts if ms >= 0.001 * whole]
    head = f"A step takes {whole:,.0f} ms, the mean over the last {times.covered:,} steps without the first of a start."
    table = grid(["part", "ms", "share"], body, left=1)
    return [f"{head} On the mean rank it goes to:", "", *table.split("\n"), ""]


def _ranks(times: "StepTimes") -> list[str]:
    """A row a rank, those that compute and wait for data longest first where there are many."""
    from cli_ray.text import grid
    from cli_ray.watch.times import PHASES

    if not times.ranks:
        return []
    numbers = list(range(len(times.ranks)))
    if len(numbers) > SHOWN_RANKS:
        numbers.sort(key=lambda rank: -times.ranks[rank]["compute_ms"] - times.ranks[rank]["data_wait_ms"])
    head = ["rank", *PHASES.values(), "computing in all"]
    body = [
        [str(rank), *(f"{times.ranks[rank][name]:,.1f}" for name in (*PHASES, "compute_ms"))]
        for rank in numbers[:SHOWN_RANKS]
    ]
    more = [f"and {len(numbers) - SHOWN_RANKS} ranks that take less"] if len(numbers) > SHOWN_RANKS else []
    return ["Milliseconds of each rank:", "", *grid(head, body, left=1).split("\n"), *more, ""]


def _outside(seconds: dict[str, float]) -> list[str]:
    """What the run did beside its steps."""
    from cli_ray.text import duration

    told = [f"{what} took {duration(value)}" for what, value in seconds.items() if value]
    return [f"Beside its steps: {', '.join(told)}.", ""] if told else []


def _verdict(times: "StepTimes", found: "list[Cause]") -> list[str]:
    """The causes with their gains."""
    if not found:
        mfu, parts = times.mean("mfu"), times.parts()
        work = sum(parts[name] for name in ("forward", "backward", "optimizer")) / times.whole_ms
        of_peak = f", at {mfu:.0%} of what the GPUs could do at best" if mfu else ""
        return [f"Nothing stands out: forward, backward and optimizer are {work:.0%} of the time{of_peak}."]
    lines = []
    for number, cause in enumerate(found, start=1):
        gain = cause.saved_ms / times.whole_ms
        lines += [
            f"{number}. {cause.name}: {cause.finding}.",
            f"   {cause.advice}.",
            f"   gain: up to {cause.saved_ms:,.0f} of {times.whole_ms:,.0f} ms a step ({gain:.0%}).",
        ]
    return lines
