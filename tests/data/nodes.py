"""Readers that tell where they ran. A module of its own, so that Ray's workers find it."""

import ray

from cli_ray.config import DataConfig
from cli_ray.data.encoder import Encoder
from cli_ray.data.images import Limits
from cli_ray.data.index import build_index
from cli_ray.data.order import Piece
from cli_ray.data.reading import Task, read_by_ray
from cli_ray.data.sample import BadSample, Sample


class Nodes(Encoder):
    """Encodes nothing: of each sample, the node that read it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.needs_torch = True  # a class of ours

    def __call__(self, sample: Sample | BadSample) -> BadSample:
        return BadSample(sample.id, sample.source, "", "broken image", ray.get_runtime_context().get_node_id())


def read(data: DataConfig) -> list[str]:
    """Reads unit after unit as a rank does; the node that read each sample."""
    index = build_index(data)
    windows = [[Task.of(index, Piece(unit, 0, index.unit(unit).span.count))] for unit in range(len(index))]
    rows = read_by_ray(windows, index.sources, Nodes(Limits.of(data)), ahead=1)
    return [row.detail for window in rows for row in window if isinstance(row, BadSample)]
