"""Why a run is slow: what could be saved of each step, by cause, with the field to change. For `cli-ray why-slow`.

Each gain is computed from the run's own figures, as what a step would take without that cause alone.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, median_low
from typing import Any

from cli_ray.config import RunConfig
from cli_ray.text import duration
from cli_ray.watch.times import StepTimes

LEAST_SHARE = 0.05
"""Of a step that a cause must take to be named."""
GOAL = 0.02
"""The share of the time that checkpoints, validation or logs may take after the advice."""
MOSTLY = 0.7
"""The share of the steps in which one rank must be the slowest to be the cause."""
FAR = 5.0
"""How often as long as others the reads of a slow shard take."""
OFTEN = 3
"""Logged steps in which a shard must have been the slowest, for on a busy machine any is slow at times."""
ALIKE = 1.05
"""How much more than the median rank a rank may have to compute for their work to be alike."""
SHOWN_SHARDS = 3


@dataclass(frozen=True)
class Cause:
    """Something that takes time of each step."""

    name: str
    saved_ms: float
    """Of a step, at most, where the advice is followed."""
    finding: str
    """What was measured."""
    advice: str
    """What to change; names the field where there is one."""


def causes(times: StepTimes, config: RunConfig) -> list[Cause]:
    """The causes that take a noticeable share of a step, the greatest gain first.

    Args:
        times: of the run.
        config: of the run.
    """
    found = [cause for look in _LOOKS if (cause := look(times, config)) is not None]
    noticeable = [cause for cause in found if cause.saved_ms >= LEAST_SHARE * times.whole_ms]
    return sorted(noticeable, key=lambda cause: cause.saved_ms, reverse=True)


def slow_shards(times: StepTimes) -> dict[str, float]:
    """By path, the median milliseconds of a shard's reads where those are far longer than others; the slowest first.

    Of each logged step the slowest read is known, and the mean of all.
    """
    rows = [row for _, row in times.pairs if "read_ms" in row]
    others = [
        (row["reads"] * row["read_ms"] - row["slowest_read_ms"]) / (row["reads"] - 1)
        for row in rows
        if row["reads"] > 1
    ]
    typical = median(others) if others else math.inf
    by_shard: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_shard[row["slowest_shard"]].append(row["slowest_read_ms"])
    often = {path: median(values) for path, values in by_shard.items() if len(values) >= OFTEN}
    slow = {path: ms for path, ms in often.items() if ms > FAR * typical}
    return dict(sorted(slow.items(), key=lambda item: item[1], reverse=True))


def _data(times: StepTimes, config: RunConfig) -> Cause | None:
    waited = times.mean("data_wait_ms")
    rank, share = times.most("data_wait_ms")
    finding = f"a step waits {waited:,.0f} ms for data on the rank that waits longest"
    if share >= MOSTLY and len(times.ranks) != 1:
        finding += f", mostly rank {rank} ({share:.0%} of the steps)"
    ahead = config.data.prefetch_windows
    more = f"data.prefetch_windows = {2 * ahead} (now {ahead}) reads further ahead and evens out single slow reads"
    shards = slow_shards(times)
    waits = {after["step"]: after.get("data_wait_ms") or 0.0 for _, after in times.pairs}
    longest = max(waits, key=lambda step: waits[step])
    if waits[longest] > MOSTLY * sum(waits.values()):
        finding += f"; nearly all of it is one wait, {duration(waits[longest] / 1e3)} at step {longest}"
        advice = f"a longer run tells what its steps wait: the stream fills up once in an epoch; {more}"
    elif shards:
        named = ", ".join(f"{path} ({ms:,.0f} ms a piece)" for path, ms in list(shards.items())[:SHOWN_SHARDS])
        finding += f"; the slowest shards: {named}, the mean piece takes {times.mean('read_ms'):,.0f} ms"
        advice = f"put these shards on storage as fast as that of the others, or make their images smaller; {more}"
    else:
        advice = (
            f"leave the stream more CPUs: lower cluster.cpus_per_worker (now {config.cluster.cpus_per_worker:g}) or "
            f"add nodes; {more}"
        )
    return Cause("data", waited, finding, advice)


def _rank(times: StepTimes, config: RunConfig) -> Cause | None:
    longest, middle = times.mean("compute_ms/max"), times.mean("compute_ms/median")
    rank, share = times.most("compute_ms")
    if share >= MOSTLY and _is_as_loaded(times, rank):
        finding = (
            f"rank {rank} computes longest in {share:.0%} of the steps: {longest:,.0f} ms, the median rank "
            f"{middle:,.0f} ms, with as much work"
        )
        advice = (
            "look at its GPU or CPU (clocks, temperature, other jobs), or leave its node out; no field makes up for it"
        )
        return Cause("slow rank", longest - middle, finding, advice)
    took = f"the longest computes {longest:,.0f} ms, the median rank {middle:,.0f} ms"
    if times.mean("real_tokens/max") <= ALIKE * times.mean("real_tokens/median"):
        finding = f"ranks with as much work take unlike times, each in other steps: {took}"
        advice = "look at what else runs on their machines: other jobs, and the stream where it has too few CPUs"
        return Cause("unsteady ranks", longest - middle, finding, advice)
    finding = f"the ranks have unlike work: {took}"
    window = config.data.window_samples
    advice = (
        f"data.window_samples = {2 * window} (now {window}, in a new run) makes the ranks' shares of a step more alike"
    )
    if not config.packs:
        advice = f"train.packing = true lays the samples out anew so that the ranks meet less often; {advice}"
    return Cause("uneven ranks", longest - middle, finding, advice)


def _is_as_loaded(times: StepTimes, rank: int) -> bool:
    """Whether a rank has no more to compute than the others; so where that is not known."""
    flops = [figures["flops"] for figures in times.ranks]
    return not flops or flops[rank] <= ALIKE * median_low(flops)


def _seldom(part: str, section: str, times: StepTimes, every: int, more: str = "") -> Cause | None:
    """Something that is done every few steps: how seldom it has to be done to take no more than the goal."""
    spent = times.beside().get(part, 0.0)
    each = spent * every
    seldom = max(every, math.ceil(each / (GOAL * (times.whole_ms - spent)))) if spent < times.whole_ms else every
    took = f"{each:,.0f} ms" if each < 1000 else duration(each / 1e3)
    finding = f"{part} takes {spent:,.0f} ms of each step, {took} each time (every {every} steps)"
    return Cause(part, spent - each / seldom, finding, f"{section}.every = {seldom} (now {every}){more}")


def _checkpoint(times: StepTimes, config: RunConfig) -> Cause | None:
    return _seldom("checkpoint", "checkpoint", times, config.checkpoint.every)


def _validation(times: StepTimes, config: RunConfig) -> Cause | None:
    more = f", or fewer samples: validation.max_samples (now {config.validation.max_samples}), in a new run"
    return _seldom("validation", "validation", times, config.validation.every, more)


def _metrics(times: StepTimes, config: RunConfig) -> Cause | None:
    return _seldom("metrics", "log", times, config.log.every)


def _padding(times: StepTimes, config: RunConfig) -> Cause | None:
    share = times.mean("padding_share")
    finding = f"{share:.0%} of the positions that are computed are padding"
    if config.packs:
        now = config.pack_tokens
        advice = f"train.pack_tokens = {2 * now} (now {now}) fills packs better, if memory allows"
    else:
        advice = "train.packing = true lays samples end to end; what is learnt stays the same"
    return Cause("padding", share * times.mean("compute_ms/median"), finding, advice)


def _recomputing(times: StepTimes, config: RunConfig) -> Cause | None:
    if not config.train.activation_checkpointing:
        return None
    again = times.mean("forward_ms/median")
    peak = times.mean("peak_GiB")
    finding = f"activations are computed again in the backward pass, about {again:,.0f} ms of each step"
    advice = f"train.activation_checkpointing = false, if memory allows (the peak is {peak:.1f} GiB with it)"
    return Cause("recomputing", again, finding, advice)


def _exchange(times: StepTimes, config: RunConfig) -> Cause | None:
    if config.train.zero_stage < 3:
        return None
    # ZeRO 3 moves half as much again as ZeRO 2: parameters once more (arXiv 1910.02054, section 7).
    least = times.mean("rank_wait_ms/min")
    finding = f"the exchange of gradients and parameters takes {least:,.0f} ms of each step"
    return Cause("exchange", least / 3, finding, "train.zero_stage = 2 (now 3), if memory allows, in a new run")


_LOOKS: tuple[Callable[[StepTimes, RunConfig], Any], ...] = (
    _data, _rank, _checkpoint, _validation, _metrics, _padding, _recomputing, _exchange,
)  # fmt: skip
