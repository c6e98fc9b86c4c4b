"""Levelling: things of different cost dealt to bins of fixed room, so that the bins cost the same.

Integer arithmetic, so that it gives the same on every machine. `steps` deals the samples of a window by it.
"""

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

_EXCHANGES = 4
"""Most exchanges for each bin; one is common."""
_EVEN = 200
"""Exchanges end when the bins are within a 200th of the largest one."""


def level(costs: Sequence[int], rooms: Sequence[int], ranks: Sequence[int]) -> list[list[int]]:
    """Which things each bin gets, as many as it has room for.

    The costliest thing first goes to the bin that costs least for its room and is not full (Graham's longest processing
    time first). As the last things have no choice, the bin that is furthest above its share then exchanges a thing with
    the one furthest below, as long as that brings the two nearer to their shares.

    Args:
        costs: of the things, not negative.
        rooms: of the bins, whose sum is the number of things.
        ranks: of the bins: of several that cost the same, the one of the lowest rank comes first.
    """
    dealt = _longest_first(costs, rooms, ranks)
    total, count = sum(costs), len(costs)
    # What a bin costs above its share, times the number of things, which makes it whole.
    over = [count * sum(costs[i] for i in things) - total * room for things, room in zip(dealt, rooms, strict=True)]
    for _ in range(_EXCHANGES * len(rooms)):
        if (max(over) - min(over)) * _EVEN <= total * max(rooms) or not _exchange(dealt, costs, over):
            break
    return dealt


def _longest_first(costs: Sequence[int], rooms: Sequence[int], ranks: Sequence[int]) -> list[list[int]]:
    dealt: list[list[int]] = [[] for _ in rooms]
    common = math.lcm(*filter(None, rooms))
    heap = [(0, ranks[b], b) for b, room in enumerate(rooms) if room]
    heapify(heap)
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, rank, b = heappop(heap)
        dealt[b].append(i)
        if len(dealt[b]) < rooms[b]:
            heappush(heap, (load + costs[i] * (common // rooms[b]), rank, b))
    return dealt


def _exchange(dealt: list[list[int]], costs: Sequence[int], over: list[int]) -> bool:
    """Makes the exchange that helps the two bins furthest from their shares most; False when none does."""
    bins = range(len(over))
    high, low = max(bins, key=over.__getitem__), min(bins, key=over.__getitem__)
    gap, count = over[high] - over[low], len(costs)
    # Moving m from one to the other lessens the sum of their squares by 2 m (gap - m).
    exchanges = (
        (moved * (gap - moved), i, j, moved)
        for i, above in enumerate(dealt[high])
        for j, below in enumerate(dealt[low])
        for moved in [count * (costs[above] - costs[below])]
    )
    gain, i, j, moved = max(exchanges, default=(0, 0, 0, 0))
    if gain <= 0:
        return False
    dealt[high][i], dealt[low][j] = dealt[low][j], dealt[high][i]
    over[high] -= moved
    over[low] += moved
    return True
