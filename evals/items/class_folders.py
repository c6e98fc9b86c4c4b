"""Pictures in a folder for each class, as image classification has them: rows of `image`, a path, and `label`.

`cli_ray.evals.items.tables` reads them like a table. The names of the pictures go along in the parts, so that one that
is added while an evaluation runs moves no other.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from cli_ray.errors import UserError
from cli_ray.evals.items.location import Part, split_query
from cli_ray.storage.files import list_files

COLUMNS = ("image", "label")
SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def survey(folder: str, first: int, part_rows: int) -> list[Part]:
    """The parts of a folder.

    Args:
        first: number of its first row in the split.
        part_rows: rows of a part at most.

    Raises:
        UserError: there is no picture.
    """
    head = split_query(folder)[0].rstrip("/") + "/"
    below = [split_query(shard.path)[0].removeprefix(head) for shard in list_files(folder)]
    names = [name for name in below if "/" in name and name.lower().endswith(SUFFIXES)]
    if not names:
        raise UserError("has neither a table, such as metadata.csv, nor pictures in a folder for each class")
    whole = Part(folder, 0, 0, 0, first)
    return [
        replace(whole, start=start, rows=len(few), first=first + start, first_in_file=start, files=tuple(few))
        for start in range(0, len(names), part_rows)
        if (few := names[start : start + part_rows])
    ]


def rows(part: Part, columns: Sequence[str], wanted: Collection[int] | None) -> Iterator[tuple[int, dict[str, str]]]:
    """See `cli_ray.evals.items.tables.rows`."""
    for number, name in enumerate(part.files, part.first):
        if wanted is None or number in wanted:
            values = dict(zip(COLUMNS, (name, name.partition("/")[0]), strict=True))
            yield number, {column: values[column] for column in columns if column in values}
