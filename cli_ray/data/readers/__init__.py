"""The formats, one file each."""

from cli_ray import registry
from cli_ray.data.readers.reader import Reader, Record, Span

READERS: dict[str, Reader] = {name: registry.load(path)() for name, path in registry.READERS.items()}
"""By `SourceConfig.format`."""

__all__ = ["READERS", "Reader", "Record", "Span"]
