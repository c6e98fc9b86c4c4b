"""Useful share of rank-time by the order of the samples, and what the order does to what a model learns from.

    python -m tests.perf.steps [--lanes 1024]

Reckoned with the product's own order, costs and packing, on samples without pixels: texts of log-normal length (median
150 tokens, sigma 0.9), one sample in ten without an image, images of the sizes of the shared photographs or, without
these, of drawn sizes. A rank takes 16 samples a step, in micro-batches of 4 or packed. Its time is what its samples
cost by `cli_ray.model.cost`, padding included; ranks wait for the slowest at the end of a step (ZeRO-1) or of each
micro-batch or pack (ZeRO-2 and 3). What is useful is what the samples cost without padding. `at best` is the share if
nothing is padded and each window is dealt to steps of exactly one cost, so that ranks wait for the one with the
costliest window alone.

`tests.perf.steps_timed` trains on two ranks.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cli_ray.data.order import Order
from cli_ray.data.packing import level, plan
from cli_ray.data.sample import Encoded, Row
from cli_ray.data.steps import Dealt, Grouped, Levelled, Rows, Steps
from tests.perf.steps_samples import SOURCES, Setting, loss_of, pool, settings

# Legend: G groups of ranks, R ranks, S steps, M micro-batches or packs of a step, K what is counted of a step.

Floats = NDArray[np.float64]
MICRO_BATCH, PER_STEP = 4, 4
SHARE = MICRO_BATCH * PER_STEP
SIZES = (2, 8, 64, 256, 1024)
LONG = 0.9
"""Quantile of the lengths from which on a sample counts as long."""


class AsRead(Steps):
    """Samples in the order in which they are read, which is random here."""

    def sizes(self, epoch: int) -> Any:
        """Not asked for."""
        raise NotImplementedError

    def deal(self, rows: Sequence[Row], epoch: int, lane: int, window: int) -> Dealt:
        """See `Steps`."""
        return {i // SHARE: [list(rows[i : i + SHARE])] for i in range(0, len(rows), SHARE)}

    def micro_batches(self, dealt: list[Rows]) -> list[Rows]:
        """See `Steps`."""
        return [rows[i : i + MICRO_BATCH] for rows in dealt for i in range(0, len(rows), MICRO_BATCH)]


@dataclass(frozen=True)
class Window:
    """The first window of each lane, in steps."""

    padded_RSM: Floats
    """Cost of each micro-batch, padding included."""
    useful: float
    """Cost of all samples."""
    padding: float
    """Share of the tokens."""
    samples: list[list[tuple[tuple[int, ...], tuple[int, ...]]]]
    """Tokens and costs of the samples of each step of each lane."""
    counts_RSK: Floats
    """Samples, tokens, supervised tokens, their loss, long samples, and samples of each source."""


def window_of(setting: Setting, steps: Steps, rows: list[Encoded], lanes: int) -> Window:
    """Deals a window of samples, the same ones for every order, to the steps of each lane."""
    cost, long = setting.cost, np.quantile([len(row.input_ids) for row in rows], LONG)
    known = {row.id: cost(row) for row in rows}
    padded, samples, counts, real, tokens = [], [], [], 0, 0
    for lane in range(lanes):
        draw = np.random.default_rng((1, lane))
        drawn: list[Row] = [rows[i] for i in draw.integers(len(rows), size=steps.order.window)]
        dealt = steps.deal(drawn, 0, lane, 0)
        batches = [cast(list[list[Encoded]], steps.micro_batches(dealt[step])) for step in sorted(dealt)]
        padded.append([[padded_cost(setting, known, batch) for batch in step] for step in batches])
        flat = [[row for batch in step for row in batch] for step in batches]
        samples.append(
            [(tuple(len(row.input_ids) for row in step), tuple(known[row.id] for row in step)) for step in flat]
        )
        counts.append([counted(step, long) for step in flat])
        real += sum(sum(lengths) for lengths, _ in samples[-1])
        tokens += sum(len(batch) * max(len(row.input_ids) for row in batch) for step in batches for batch in step)
    useful = float(sum(sum(costs) for lane in samples for _, costs in lane))
    return Window(np.array(padded, float), useful, 1 - real / tokens, samples, np.array(counts, float))


def padded_cost(setting: Setting, known: dict[str, int], batch: Sequence[Encoded]) -> int:
    """Cost of a micro-batch whose rows are all as long as the longest."""
    cost = setting.cost
    longest = max(len(row.input_ids) for row in batch)

    def text(length: int) -> int:
        return (cost.token + cost.pair * length) * length

    return sum(known[row.id] - text(len(row.input_ids)) + text(longest) for row in batch)


def counted(step: Sequence[Encoded], long: float) -> list[float]:
    """See `Window.counts_RSK`."""
    lengths = [len(row.input_ids) for row in step]
    supervised = [len(row.input_ids) - int(np.searchsorted(row.labels, 0)) for row in step]
    losses = sum(loss_of(row) * number for row, number in zip(step, supervised, strict=True))
    sources = [sum(row.source == source for row in step) for source in SOURCES]
    return [len(step), sum(lengths), sum(supervised), losses, sum(length > long for length in lengths), *sources]


def shares(window: Window, ranks: int) -> tuple[float, float]:
    """Useful share of the time of ranks that meet at every step, and at every micro-batch."""
    padded_GRSM = window.padded_RSM.reshape(-1, ranks, *window.padded_RSM.shape[1:])
    by_step, by_batch = padded_GRSM.sum(3).max(1).sum(), padded_GRSM.max(1).sum()
    return window.useful / by_step / ranks, window.useful / by_batch / ranks


def packed_shares(window: Window, limit: int, ranks: int) -> tuple[float, float]:
    """The same of packs, of which all ranks take as many as the one that needs most."""
    by_step = by_pack = 0.0
    for begin in range(0, len(window.samples), ranks):
        for step in zip(*window.samples[begin : begin + ranks], strict=True):
            count = max(_plan(tokens, limit) for tokens, _ in step)
            packs_RM = np.array([_level(tokens, costs, limit, count) for tokens, costs in step], float)
            by_step += packs_RM.sum(1).max()
            by_pack += packs_RM.max(0).sum()
    return window.useful / by_step / ranks, window.useful / by_pack / ranks


def best_share(window: Window, ranks: int) -> float:
    """Useful share if the steps of each lane's window cost the same and there were no padding."""
    lanes_GR = np.array([sum(sum(costs) for _, costs in lane) for lane in window.samples], float).reshape(-1, ranks)
    return float(window.useful / lanes_GR.max(1).sum() / ranks)


@cache
def _plan(tokens: tuple[int, ...], limit: int) -> int:
    return plan(tokens, limit)


@cache
def _level(tokens: tuple[int, ...], costs: tuple[int, ...], limit: int, count: int) -> list[int]:
    return [sum(costs[i] for i in pack) for pack in level(tokens, costs, limit, count)]


def mix(window: Window, ranks: int) -> list[float]:
    """How steps of so many ranks differ: deviations of what they hold and of their loss.

    Returns:
        Relative deviations of tokens and supervised tokens, deviations of the shares of long samples and of each
        source, deviation of the mean loss of a step, and how far the mean over steps is from that over all tokens.
    """
    counts_GSK = window.counts_RSK.reshape(-1, ranks, *window.counts_RSK.shape[1:]).sum(1)
    samples, tokens, supervised, losses, *kinds = counts_GSK.reshape(-1, counts_GSK.shape[-1]).T
    means = losses / supervised
    spread = [column.std() / column.mean() for column in (tokens, supervised)]
    spread += [(kind / samples).std() for kind in kinds]
    return [float(value) for value in (*spread, means.std(), means.mean() - losses.sum() / supervised.sum())]


def orders(setting: Setting) -> Iterator[tuple[str, int, Callable[[Order], Steps]]]:
    """Name, window and maker of each order."""
    yield "random", 256, AsRead
    yield "micro-batches shuffled (0.1.0)", 256, Grouped
    for window in (256, 512):
        yield f"levelled, window {window}", window, lambda order: Levelled(order, setting.cost)


def main() -> None:
    """Prints two tables for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=1024, help="a multiple of 64")
    lanes = parser.parse_args().lanes
    sizes = [size for size in SIZES if size <= lanes]
    for setting in settings():
        rows = pool(setting)
        print(f"\n{setting.name}, useful share of rank-time, ranks meet at a step / a micro-batch or pack\n")
        print(f"| order | padding | {' | '.join(f'{size:,} ranks' for size in sizes)} |")
        print(f"| --- |{' ---: |' * (len(sizes) + 1)}")
        mixes = []
        for name, size, steps in orders(setting):
            order = Order(np.array([lanes * size]), np.zeros(1, np.int64), [1.0], 0, lanes, size, MICRO_BATCH, PER_STEP)
            window = window_of(setting, steps(order), rows, lanes)
            found = [shares(window, ranks) for ranks in sizes]
            print(line(name, f"{window.padding:.1%}", found))
            found = [packed_shares(window, setting.pack_tokens, ranks) for ranks in sizes]
            print(line(f"{name}, packs of {setting.pack_tokens:,}", "", found), flush=True)
            if name.startswith("levelled"):
                best = [best_share(window, ranks) for ranks in sizes]
                print(line(f"{name}, at best", "", zip(best, best, strict=True)))
            mixes += [(name, ranks, mix(window, ranks)) for ranks in (8, 64)]
        print(f"\n{setting.name}, standard deviations over steps; the loss is made up of source, length and chance\n")
        columns = "order, ranks | tokens | supervised | long samples | " + " | ".join(SOURCES)
        print(f"| {columns} | loss | mean loss |\n| --- |{' ---: |' * (len(SOURCES) + 5)}")
        for name, ranks, (*shares_of, loss, bias) in mixes:
            print(f"| {name}, {ranks} | {' | '.join(f'{one:.1%}' for one in shares_of)} | {loss:.4f} | {bias:+.4f} |")


def line(name: str, padding: str, found: Iterable[tuple[float, float]]) -> str:
    """Of the table of shares."""
    return f"| {name} | {padding} | {' | '.join(f'{by_step:.2f} / {by_batch:.2f}' for by_step, by_batch in found)} |"


if __name__ == "__main__":
    main()
