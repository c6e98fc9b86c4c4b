"""Packing: how the samples of a rank's share of a step are laid into as few rows of as many tokens as all ranks need.

Arithmetic on integers alone, so every start of a run packs alike. `engine` asks each rank for its need by `plan`, takes
the greatest, and `level` lays the samples out over so many packs.
"""

from collections.abc import Sequence

_EXCHANGES = 4
"""Most exchanges for each pack; one or two are common."""
_EVEN = 200
"""Exchanges end when the packs are within a 200th of the costliest one."""


def plan(lengths: Sequence[int], limit: int) -> int:
    """How many packs the samples need; 0 without samples.

    Args:
        lengths: tokens of each sample, none above the limit.
        limit: most tokens of a pack.
    """
    return len(_first_fit(lengths, limit))


def level(lengths: Sequence[int], costs: Sequence[int], limit: int, count: int) -> list[list[int]]:
    """Lays samples into packs of like cost, so that pack j of one rank costs about as much as pack j of another.

    Args:
        lengths: as for `plan`.
        costs: of each sample, in any unit.
        limit: as for `plan`.
        count: packs to fill, at least as many as `plan` says.

    Returns:
        The samples of each pack, ascending; packs by descending cost, those that stay empty last.
    """
    packs = _lightest(lengths, costs, limit, count) or _first_fit(lengths, limit)
    packs += [[] for _ in range(count - len(packs))]
    _even_out(packs, lengths, costs, limit)
    return sorted(map(sorted, packs), key=lambda pack: -sum(costs[i] for i in pack))


def _lightest(lengths: Sequence[int], costs: Sequence[int], limit: int, count: int) -> list[list[int]] | None:
    """Longest processing time first: each sample, the costliest first, to the cheapest pack with room; None without."""
    packs: list[list[int]] = [[] for _ in range(count)]
    cost, room = [0] * count, [limit] * count
    for i in sorted(range(len(lengths)), key=lambda i: (-costs[i], i)):
        with_room = [j for j in range(count) if room[j] >= lengths[i]]
        if not with_room:
            return None
        j = min(with_room, key=lambda j: (cost[j], j))
        packs[j].append(i)
        cost[j] += costs[i]
        room[j] -= lengths[i]
    return packs


def _first_fit(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """First fit decreasing: each sample, the longest first, to the first pack with room."""
    packs: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        j = next((j for j, left in enumerate(room) if left >= lengths[i]), len(packs))
        if j == len(packs):
            packs.append([])
            room.append(limit)
        packs[j].append(i)
        room[j] -= lengths[i]
    return packs


def _even_out(packs: list[list[int]], lengths: Sequence[int], costs: Sequence[int], limit: int) -> None:
    """Has the costliest and the cheapest pack exchange samples, as long as that brings the two nearer to each other."""
    nothing = len(lengths)  # what is taken for a sample that is given away
    lengths, costs = [*lengths, 0], [*costs, 0]
    for _ in range(_EXCHANGES * len(packs)):
        ranked = sorted((sum(costs[i] for i in pack), pack) for pack in packs)
        (below, low), (above, high) = ranked[0], ranked[-1]
        gap = above - below
        if gap * _EVEN <= above:
            break
        room_high, room_low = (limit - sum(lengths[i] for i in pack) for pack in (high, low))
        # Moving m from one to the other lessens the sum of their squares by 2 m (gap - m).
        exchanges = (
            (moved * (gap - moved), given, taken)
            for given in high
            for taken in (*low, nothing)
            for moved, longer in [(costs[given] - costs[taken], lengths[given] - lengths[taken])]
            if -room_high <= longer <= room_low
        )
        gain, given, taken = max(exchanges, default=(0, nothing, nothing))
        if gain <= 0:
            break
        high.remove(given)
        low.append(given)
        if taken != nothing:
            low.remove(taken)
            high.append(taken)
