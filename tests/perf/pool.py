"""How well the pool keeps replicas at work.

    python -m tests.perf.pool simulate [--load S] [--seed N] [--heavy-tail]
                                          virtual time, real sizes of the 18 sets, the real queue
    python -m tests.perf.pool dispatch    batches per second of the driver, with replicas that return at once
    python -m tests.perf.pool ray-data    the pull loop beside Ray Data on the same sleeping work

Utilisation is the sum of all work over replicas times the time from the last load of weights to the end. `simulate`
gives each sample a size and a log-normal reply length; a batch takes its prefill and as many steps as its longest
reply, times log-normal noise, none of which the queue knows beforehand. `--heavy-tail`
lets some replies of MathVista grow so long that one batch takes about as long as the bound at 256 replicas, which no
schedule can mend. Beside the pool: a benchmark a GPU, and a
static split of each benchmark over all ranks with a barrier behind it, each with the same batches and times.
"""

import argparse
import heapq
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.job import Batch, Job, record_of
from cli_ray.evals.generation.lengths import image_tokens, text_tokens
from cli_ray.evals.generation.pool import run_pool
from cli_ray.evals.generation.replica import IN_FLIGHT, Replica
from cli_ray.evals.generation.schedule import Queue, plan
from cli_ray.evals.items.location import Part
from cli_ray.evals.items.survey import Entry
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.suite import SUITES, benchmark

PREFILL_TOKENS_PER_S = 12_000
STEP_S = 0.03
NOISE = 0.25
"""Standard deviation of the logarithm of a batch's time."""
PART_ROWS = 128
ONEVISION = {
    "model_type": "llava_onevision",
    "vision_config": {"image_size": 384, "patch_size": 14},
    "image_grid_pinpoints": [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)],
}


@dataclass(frozen=True)
class Profile:
    """What the items of a benchmark are like."""

    side: int
    """Mean of the images' longer side, pixels."""
    reply: float
    """Median tokens of a reply."""
    spread: float = 0.4
    """Standard deviation of the logarithm of a reply's length."""


PROFILES = {
    "docvqa-val": Profile(1800, 6), "infovqa-val": Profile(2000, 6), "textvqa-val": Profile(950, 4),
    "ocrbench": Profile(700, 12), "mm-vet": Profile(800, 220, 0.7), "llava-wild": Profile(900, 280, 0.5),
    "mathvista-testmini": Profile(500, 200, 0.7), "mmmu-val": Profile(600, 20, 1.0), "gqa": Profile(500, 2, 0.2),
    "realworldqa": Profile(1500, 3), "seed-image": Profile(900, 2, 0.2), "pope": Profile(600, 2, 0.1),
}  # fmt: skip
HEAVY_TAIL = {"mathvista-testmini": Profile(500, 120, 1.0)}
OTHER = Profile(600, 3)
COUNTS = {name: count for name in SUITES["paper18"] if (count := benchmark(name).count)}


@dataclass(frozen=True)
class Work:
    """The samples of the 18 sets."""

    entries: dict[str, list[Entry]]
    reply: dict[str, list[int]]
    """Tokens of the reply of each sample, which the queue does not know."""
    limits: dict[str, int]
    """Tokens that a reply may have."""

    def seconds(self, name: str, entries: Sequence[Entry]) -> float:
        """Of a batch."""
        longest = max(TOKENS(entry.sizes) + text_tokens(entry.prompt_chars) for entry in entries)
        steps = max(self.reply[name][entry.row] for entry in entries)
        noise = exp(random.Random(f"{name}{entries[0].row}").gauss(0, NOISE))
        return (longest * len(entries) / PREFILL_TOKENS_PER_S + steps * STEP_S) * noise


TOKENS = image_tokens(ONEVISION)


def work(seed: int, profiles: Mapping[str, Profile]) -> Work:
    """Drawn from one seed."""
    draw = random.Random(seed)
    entries, reply, limits = {}, {}, {}
    for name, count in COUNTS.items():
        profile = profiles.get(name, OTHER)
        limits[name] = benchmark(name).max_new_tokens
        sides = [exp(draw.gauss(log(profile.side), 0.3)) for _ in range(count)]
        sizes = [((int(side), int(side * draw.uniform(0.4, 1))),) for side in sides]
        entries[name] = [
            Entry("", row, f"{name}{row}", "", "", draw.randint(60, 400), sizes[row]) for row in range(count)
        ]
        reply[name] = [
            min(limits[name], max(1, round(exp(draw.gauss(log(profile.reply), profile.spread))))) for _ in range(count)
        ]
    return Work(entries, reply, limits)


def batches_of(all_work: Work) -> list[Batch]:
    """As an evaluation makes them."""
    found = []
    for name, entries in all_work.entries.items():
        starts = range(0, len(entries), PART_ROWS)
        parts = [Part("", 0, start, min(PART_ROWS, len(entries) - start), start) for start in starts]
        found += plan(name, all_work.limits[name], parts, entries, ReplicaConfig(), TOKENS)
    return found


def pulled(batches: Sequence[Batch], seconds: Callable[[Batch], float], replicas: int, load: float) -> float:
    """Seconds that the pool takes, the load of the weights included, by the real queue."""
    queue = Queue(batches, 3)
    held: list[list[tuple[int, Batch]]] = [[] for _ in range(replicas)]
    # At one moment, replicas without work come before those that prefetch, as in the pool.
    events = [(load, False, replica) for replica in range(replicas)]
    now = 0.0
    while events:
        now, prefetches, replica = heapq.heappop(events)
        mine = held[replica]
        if mine and not prefetches:
            ticket, batch = mine.pop(0)
            queue.recorded(ticket, (entry.key for entry in batch.entries))
            queue.finished(ticket, seconds(batch))
        taken = queue.take([ticket for ticket, _ in mine], replicas) if len(mine) < IN_FLIGHT else None
        if taken:
            mine.append(taken)
        if mine and not prefetches:
            heapq.heappush(events, (now + seconds(mine[0][1]), False, replica))
            heapq.heappush(events, (now, True, replica))
    assert queue.done
    return now


def benchmark_per_gpu(batches: Sequence[Batch], seconds: Callable[[Batch], float], replicas: int, load: float) -> float:
    """Seconds when each benchmark is one job on one GPU, the longest first, the weights loaded for each."""
    totals: dict[str, float] = {}
    for batch in batches:
        totals[batch.benchmark] = totals.get(batch.benchmark, load) + seconds(batch)
    free = [0.0] * replicas
    for total in sorted(totals.values(), reverse=True):
        heapq.heapreplace(free, free[0] + total)
    return max(free)


def static_split(all_work: Work, replicas: int, load: float) -> float:
    """Seconds when every rank takes each n-th sample of a benchmark and waits for the others at its end."""
    total = load
    for name, entries in all_work.entries.items():
        ranks = [entries[rank::replicas] for rank in range(min(replicas, len(entries)))]
        size = ReplicaConfig().batch_size
        times = [
            sum(all_work.seconds(name, mine[start : start + size]) for start in range(0, len(mine), size))
            for mine in ranks
        ]
        total += max(times)
    return total


def simulate(load: float, seed: int, profiles: Mapping[str, Profile]) -> None:
    """Prints a table."""
    all_work = work(seed, profiles)
    batches = batches_of(all_work)
    times = {id(batch): all_work.seconds(batch.benchmark, batch.entries) for batch in batches}

    def seconds(batch: Batch) -> float:
        return times[id(batch)]

    total = sum(times.values())
    samples = sum(len(entries) for entries in all_work.entries.values())
    print(f"{samples:,} samples, {len(batches):,} batches, {total / 3600:.2f} replica hours, "
          f"longest batch {max(times.values()):.1f} s, load {load:g} s")  # fmt: skip
    print("replicas | bound s | pool s  util | benchmark a GPU s  util | static split s  util")
    for replicas in (8, 64, 256):
        bound = total / replicas
        found = (
            pulled(batches, seconds, replicas, load),
            benchmark_per_gpu(batches, seconds, replicas, load),
            static_split(all_work, replicas, load),
        )
        cells = " | ".join(f"{taken:9.1f} {bound / (taken - load):5.3f}" for taken in found)
        print(f"{replicas:8} | {bound:7.1f} | {cells}")


class Instant(Replica):
    """Answers at once; or after as many milliseconds as a batch's first prompt has characters, for model `sleep`."""

    def load(self) -> None:
        """Nothing to load."""

    def run(self, batch: Batch) -> Iterator[list[ReplyRecord]]:
        """One list for the batch, with the time at which it began."""
        with self._device:
            began = time.time()
            if self._job.model == "sleep":
                time.sleep(batch.entries[0].prompt_chars / 1000)
            yield [record_of(batch, entry, self._job, reply=str(began), finish="stop") for entry in batch.entries]


def made_up(count: int, samples: int, milliseconds: Sequence[int] = ()) -> list[Batch]:
    """Batches of nothing; with times, the queue knows their median only up to noise."""
    part = Part("", 0, 0, count * samples, 0)
    times = milliseconds or [1] * count
    found = []
    for number, time_ms in enumerate(times):
        rows = range(number * samples, (number + 1) * samples)
        blank = "0" * 32
        entries = tuple(Entry(f"{row}", row, f"{row:032}", blank, blank, time_ms, ((640, 480),)) for row in rows)
        found.append(Batch("chartqa", part, entries, 16, expected(time_ms)))
    return found


def expected(milliseconds: int) -> float:
    """What a schedule may know of a time: the power of two near it."""
    return float(2 ** round(log(milliseconds + 1, 2)))


def dispatch(actors: int, count: int) -> None:
    """Prints how many batches a second the driver hands out and takes in."""
    replica = ReplicaConfig(count=actors, gpus=0, cpus=0.01)
    began = [0.0]

    def taken(records: list[ReplyRecord]) -> None:
        began[0] = began[0] or time.perf_counter()

    run_pool(Queue(made_up(count, 16), 3), Job("", "", replica, {}), taken, None, Instant)
    seconds = time.perf_counter() - began[0]
    print(f"{actors} replicas, {count} batches of 16 samples: {count / seconds:.0f} batches/s")


def pull_loop(milliseconds: Sequence[int], actors: int) -> tuple[float, float]:
    """When the first unit began and the last ended, in a pool."""
    replica = ReplicaConfig(count=actors, gpus=0, cpus=1)
    records: list[ReplyRecord] = []
    run_pool(Queue(made_up(len(milliseconds), 1, milliseconds), 3), Job("sleep", "", replica, {}), records.extend, None,
             Instant)  # fmt: skip
    spans = [(float(record.reply), milliseconds[int(record.sample_id)] / 1000) for record in records]
    return min(start for start, _ in spans), max(start + took for start, took in spans)


class Sleep:
    """The same work for Ray Data."""

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Sleeps for the one row of a batch."""
        began = time.time()
        time.sleep(float(rows["ms"][0]) / 1000)
        return {"began": [began], "ended": [time.time()]}


def ray_data(milliseconds: Sequence[int], actors: int) -> tuple[float, float]:
    """When the first unit began and the last ended, in Ray Data: a row a block, in the order of the queue."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    ordered = sorted(milliseconds, key=expected, reverse=True)
    rows = ray.data.from_items([{"ms": one} for one in ordered], override_num_blocks=len(ordered))
    strategy = ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=IN_FLIGHT)
    spans = rows.map_batches(Sleep, batch_size=1, num_cpus=1, compute=strategy).take_all()
    return min(span["began"] for span in spans), max(span["ended"] for span in spans)


def compare(actors: int) -> None:
    """Prints the utilisation of both."""
    draw = random.Random(0)
    milliseconds = [max(1, round(1000 * exp(draw.gauss(log(0.25), 0.8)))) for _ in range(40 * actors)]
    bound = sum(milliseconds) / 1000 / actors
    for name, run in (("pull loop", pull_loop), ("Ray Data", ray_data)):
        began, ended = run(milliseconds, actors)
        print(f"{name}: {ended - began:.2f} s for {len(milliseconds)} units, bound {bound:.2f} s, "
              f"utilisation {bound / (ended - began):.3f}")  # fmt: skip


def main() -> None:
    """Runs one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "dispatch", "ray-data"), nargs="?", default="simulate")
    parser.add_argument("--load", type=float, default=0.0, help="seconds that a replica takes to load the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heavy-tail", action="store_true")
    parser.add_argument("--actors", type=int, default=6)
    parser.add_argument("--batches", type=int, default=4000)
    arguments = parser.parse_args()
    if arguments.what == "simulate":
        simulate(arguments.load, arguments.seed, PROFILES | HEAVY_TAIL if arguments.heavy_tail else PROFILES)
        return
    import ray

    ray.init(address="local", num_cpus=arguments.actors + 1, include_dashboard=False, log_to_driver=False)
    if arguments.what == "dispatch":
        dispatch(arguments.actors, arguments.batches)
    else:
        compare(arguments.actors)


if __name__ == "__main__":
    main()
