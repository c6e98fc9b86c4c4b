"""How long reading the shards took since the last look: counted by a stream, taken from it by the training loop."""

from dataclasses import dataclass


@dataclass
class Reads:
    """Sums over the pieces of shards that were read; each is read and encoded by one task."""

    reads: int = 0
    """Pieces."""
    read_ms: float = 0.0
    """Of all of them together, reading and encoding."""
    slowest_read_ms: float = 0.0
    slowest_shard: int = -1
    """The number of its shard, see `Stream.shards`."""

    def add(self, shard: int, ms: float) -> None:
        """Counts a piece."""
        self.reads += 1
        self.read_ms += ms
        if ms > self.slowest_read_ms:
            self.slowest_read_ms, self.slowest_shard = ms, shard
