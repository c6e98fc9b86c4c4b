"""Micro-batches of a window: samples of like kind and length together, in seeded order."""

from collections.abc import Sequence

from cli_ray.data.encoded import Encoded, Row
from cli_ray.data.order import Order


def micro_batches(rows: Sequence[Row], order: Order, epoch: int, lane: int, window: int) -> list[list[Row]]:
    """Cuts the rows of a window into micro-batches.

    Rows with and without images, and short and long ones, come apart, so that little is padded; holes come
    last. The number of micro-batches depends on the number of rows alone.
    """
    shuffled = [rows[i] for i in order.shuffle(len(rows), epoch, lane, window, stage=0)]
    ranked = sorted(shuffled, key=_kind_and_length)
    size = order.micro_batch
    cut = [ranked[i : i + size] for i in range(0, len(ranked), size)]
    return [cut[i] for i in order.shuffle(len(cut), epoch, lane, window, stage=1)]


def _kind_and_length(row: Row) -> tuple[int, int]:
    if not isinstance(row, Encoded):
        return 2, 0
    return 0 if row.images else 1, len(row.input_ids)
