"""Where rows lie: small, picklable and the same on every node that sees the same files. `sources` makes it."""

from dataclasses import dataclass
from typing import Literal

from cli_ray.evals.benchmark import Benchmark

MINIATURE = "miniature"
"""Path of the bundled items."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are read together."""

    path: str
    """Local path, pyarrow URI, `hf://datasets/OWNER/NAME@REVISION/FILE`, or `miniature`; of a file, or of a folder that
    has a folder for each class."""
    group: int
    """Row group of a Parquet file; 0 elsewhere."""
    start: int
    """First row within that group or file."""
    rows: int
    first: int
    """Number of its first row in the split."""
    offset: int = 0
    """Byte of a JSONL, CSV or TSV file at which the first row starts; 0 elsewhere."""
    first_in_file: int = 0
    """Number of its first row in the file."""
    files: tuple[str, ...] = ()
    """The pictures that are its rows, where there is no table."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where the items of a benchmark lie; holds on every node that sees the same files."""

    benchmark: Benchmark
    kind: Literal["folder", "hub", "miniature"]
    where: str
    """The folder, or the hub's dataset and revision, for people; images named in rows are relative to the folder."""
    parts: tuple[Part, ...]
    images: tuple[Part, ...] = ()
    """Of the table that `Benchmark.images_from` says, or of that whose rows `Benchmark.id_column` names."""

    @property
    def rows(self) -> int:
        """Rows of the split, before `keep`."""
        return sum(part.rows for part in self.parts)


def split_query(path: str) -> tuple[str, str]:
    """A path or URI and the query behind it (`?region=...`), which is empty for a path."""
    base, mark, query = path.partition("?") if "://" in path else (path, "", "")
    return base, mark + query
