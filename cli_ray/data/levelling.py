"""Levelling: things of different cost dealt to bins of fixed room, so that the bins cost the same.

Integer arithmetic, so that it gives the same on every machine. `steps` deals the samples of a window by it.
"""

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

_EXCHANGES = 4
"""Most exchanges for each bin; half as many are common."""
_EVEN = 200
"""Exchanges end when no bin is further from its share than a 200th of the largest bin."""


def level(costs: Sequence[int], rooms: Sequence[int], ranks: Sequence[int]) -> list[list[int]]:
    """Which things each bin gets, as many as it has room for.

    The costliest thing first goes to the bin that costs least for its room and is not full (Graham's longest processing
    time first). As the last things have no choice, the bin that is furthest from its share then exchanges things with
    others, as long as that brings the two nearer to their shares.

    Args:
        costs: of the things, not negative.
        rooms: of the bins, whose sum is the number of things.
        ranks: of the bins: of several that cost the same, the one of the lowest rank comes first.
    """
    dealt = _longest_first(costs, rooms, ranks)
    over, enough = excess(dealt, costs, rooms), sum(costs) * max(rooms) // _EVEN
    for _ in range(_EXCHANGES * len(rooms)):
        if max(map(abs, over)) <= enough or not _exchange(dealt, costs, over):
            break
    return dealt


def excess(dealt: Sequence[Sequence[int]], costs: Sequence[int], rooms: Sequence[int]) -> list[int]:
    """What each bin costs above its share, times the number of things, which makes it whole."""
    total, count = sum(costs), len(costs)
    return [count * sum(costs[i] for i in things) - total * room for things, room in zip(dealt, rooms, strict=True)]


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
    """Makes the exchange that helps the worst bin and another most; False when none does."""
    worst = max(range(len(over)), key=lambda b: abs(over[b]))
    # Moving m from one bin to another that are g apart lessens the sum of their squares by 2 m (g - m).
    exchanges = (
        (moved * (over[worst] - over[other] - moved), other, i, j, moved)
        for other, things in enumerate(dealt)
        for j, thing in enumerate(things)
        for i, own in enumerate(dealt[worst])
        for moved in [len(costs) * (costs[own] - costs[thing])]
    )
    gain, other, i, j, moved = max(exchanges, default=(0, 0, 0, 0, 0))
    if gain <= 0:
        return False
    dealt[worst][i], dealt[other][j] = dealt[other][j], dealt[worst][i]
    over[worst] -= moved
    over[other] += moved
    return True
