"""Which samples of a dataset are shown: the first ones, some drawn by a seed, or those of given ids."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from cli_ray.data.images import Limits
from cli_ray.data.index import Index
from cli_ray.data.sample import BadSample, Sample
from cli_ray.data.source import read_samples, shard_name
from cli_ray.errors import UserError

Place = tuple[int, int]
"""Number of a unit of the index, and of a sample within it."""


def samples_at(index: Index, places: Sequence[Place], limits: Limits) -> Iterator[Sample | BadSample]:
    """The samples at some places. Neighbours of one unit are read together, and come in its order.

    Args:
        index: of the sources.
        places: in it.
        limits: of images.
    """
    for number, group in groupby(places, key=lambda place: place[0]):
        unit, wanted = index.unit(number), [place[1] for place in group]
        low, high = min(wanted), max(wanted) + 1
        samples = read_samples(index.sources[unit.source], unit.path, unit.span, unit.first, limits, low, high)
        yield from (sample for i, sample in enumerate(samples, start=low) if i in wanted)


def places_of_source(index: Index, source: int, count: int, seed: int | None) -> list[Place]:
    """The places of `count` samples of a source: its first ones, or some drawn by a seed."""
    units = np.flatnonzero(index.columns["source"] == source)
    ends = index.columns["count"][units].cumsum()
    total = int(ends[-1]) if len(ends) else 0
    count = min(count, total)
    positions = np.arange(count)
    if seed is not None:
        positions = np.sort(np.random.default_rng((seed, source)).choice(total, count, replace=False))
    of_unit = np.searchsorted(ends, positions, side="right")
    starts = ends - index.columns["count"][units]
    return [(int(units[i]), int(position - starts[i])) for i, position in zip(of_unit, positions, strict=True)]


def places_of_id(index: Index, id_: str) -> list[Place]:
    """The places of a sample id, one in each source that has it; what follows the number may be left out.

    Raises:
        UserError: no source has it.
    """
    places = []
    for number in range(len(index)):
        unit = index.unit(number)
        shard = f"{shard_name(index.sources[unit.source], unit.path)}#"
        match = re.match(r"\d+", id_.removeprefix(shard)) if id_.startswith(shard) else None
        offset = int(match[0]) - unit.first if match else -1
        if 0 <= offset < unit.span.count:
            places.append((number, offset))
    if not places:
        raise UserError(
            f"--id {id_!r}: no source has such a sample; an id is SHARD#NUMBER, as data check and quarantine have it"
        )
    return places
