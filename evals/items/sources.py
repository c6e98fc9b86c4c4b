"""Where the items of benchmarks lie and how they are read: a data root, the hub, the bundled miniatures or own data.

`locate` once for each benchmark, `read` wherever its documents are needed: to scan, to ask and to score them. Nothing
is unpickled, and no script of a dataset is run.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pyarrow import fs

from cli_ray.data.images import read_small
from cli_ray.errors import UserError
from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Benchmark, Doc
from cli_ray.evals.items import hub, own_data, tables
from cli_ray.evals.items.images import SHARED_COLUMNS, images_of
from cli_ray.evals.items.location import MINIATURE, Location, Part, split_query
from cli_ray.storage.files import Shard, list_files, resolve

__all__ = ["Location", "MissingError", "Part", "WrongColumnsError", "images_of", "locate", "read"]

_IMAGE_FOLDER = "images"
"""Of a benchmark's folder: holds the table that `images_from` says."""
_CARD_BYTES = 1 << 22


class MissingError(UserError):
    """The items of a benchmark are not there or cannot be read."""


class WrongColumnsError(UserError):
    """The items of a benchmark lack columns."""


def locate(benchmark: Benchmark, data_root: str, miniature: bool) -> Location:
    """Finds the items of a benchmark: bundled ones, its own, below a data root, or on the hub. Reads no rows.

    Args:
        benchmark: which one.
        data_root: folder or URI with a folder for each benchmark, named as it or as its hub dataset; the hub is used
            when empty.
        miniature: take the bundled items.

    Raises:
        MissingError: there is nothing, or a file cannot be read.
        WrongColumnsError: a column is missing.
    """
    if miniature:
        return _bundled(benchmark)
    if benchmark.data:
        return _own(benchmark)
    if data_root:
        return _in_folder(benchmark, data_root)
    return _on_hub(benchmark)


def read(
    location: Location, part: Part, columns: Sequence[str] | None = None, rows: Collection[int] | None = None
) -> Iterator[tuple[int, Doc]]:
    """The documents of a part that belong to the benchmark, with their numbers in the split.

    Args:
        location: of the benchmark.
        part: one of its parts.
        columns: nothing but these is read (and what `keep` looks at); all without.
        rows: numbers in the split of the documents wanted; all without.

    Raises:
        UserError: rows cannot be read.
    """
    benchmark = location.benchmark
    wanted = tuple(dict.fromkeys(benchmark.all_columns if columns is None else columns))
    if columns is not None and benchmark.keep:
        wanted = tuple(dict.fromkeys(wanted + benchmark.columns))
    for number, doc in _rows(location, part, wanted, rows):
        filled = _filled(benchmark, part, number, doc, wanted)
        if benchmark.keep is None or benchmark.keep(filled):
            yield number, filled


def _filled(benchmark: Benchmark, part: Part, number: int, doc: Doc, wanted: Sequence[str]) -> Doc:
    """The document with None in the columns of images that it lacks."""
    lacking = [name for name in wanted if name not in doc]
    if needed := [name for name in lacking if name in benchmark.columns]:
        raise WrongColumnsError(
            f"{benchmark.name}: row {number}, in {part.path}, lacks {_plural('column', needed)} {', '.join(needed)}"
        )
    return {**doc, **dict.fromkeys(lacking)} if lacking else doc


def _rows(
    location: Location, part: Part, columns: Sequence[str], rows: Collection[int] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    if part.path != MINIATURE:
        yield from tables.rows(part, columns, rows)
        return
    docs = miniature.docs(location.benchmark.name)[part.start : part.start + part.rows]
    for number, doc in enumerate(docs, part.first):
        if rows is None or number in rows:
            yield number, {name: doc[name] for name in columns}


def _bundled(benchmark: Benchmark) -> Location:
    docs = miniature.docs(benchmark.name)
    return Location(benchmark, "miniature", "bundled items", (Part(MINIATURE, 0, 0, len(docs), 0),))


def _own(benchmark: Benchmark) -> Location:
    try:
        kind, where, paths = own_data.find(benchmark.data)
    except UserError as error:
        raise MissingError(f"{benchmark.name}: data = {benchmark.data!r}: {error}") from error
    return _surveyed(benchmark, kind, where, paths, [])


def _in_folder(benchmark: Benchmark, data_root: str) -> Location:
    root, query = split_query(data_root if "://" in data_root else str(Path(data_root).absolute()))
    called = dict.fromkeys((benchmark.name, *(repo.rpartition("/")[2] for repo in benchmark.source.ids)))
    folders = [f"{root.rstrip('/')}/{name}{query}" for name in called]
    folder = next((path for path in folders if _is_folder(path)), "")
    if not folder:
        raise MissingError(f"{benchmark.name}: no folder {' or '.join(folders)}; put its Parquet or JSONL files there")
    head = split_query(folder)[0] + "/"
    below = {split_query(shard.path)[0].removeprefix(head): shard.path for shard in _files(benchmark, folder)}
    card = read_small(below["README.md"], _CARD_BYTES).decode(errors="replace") if "README.md" in below else ""
    source, without = benchmark.source, _folders_of_images(benchmark)
    names = hub.files_of(below, source.config, source.split, card, without)
    shared = _shared_images_among(benchmark, list(below), card)
    return _surveyed(benchmark, "folder", folder, [below[name] for name in names], [below[name] for name in shared])


def _on_hub(benchmark: Benchmark) -> Location:
    if not benchmark.source.ids:
        raise MissingError(f"{benchmark.name}: the hub has no such items; give the folder of theirs with --data-root")
    try:
        paths = hub.find(benchmark.source, _folders_of_images(benchmark))
        images = hub.find(benchmark.images_from) if benchmark.images_from else []
    except UserError as error:
        raise MissingError(
            f"{benchmark.name}: {error}; download it where there is a network, or give its files with --data-root"
        ) from error
    repo, _, revision = paths[0].partition("@")
    return _surveyed(benchmark, "hub", f"{repo}@{revision.partition('/')[0]}", paths, images)


def _files(benchmark: Benchmark, folder: str) -> list[Shard]:
    try:
        return list_files(folder)
    except UserError as error:
        raise MissingError(f"{benchmark.name}: {folder} has no files or cannot be read") from error


def _is_folder(path: str) -> bool:
    try:
        filesystem, inner = resolve(path)
        return bool(filesystem.get_file_info(inner).type == fs.FileType.Directory)
    except (OSError, ValueError) as error:
        raise MissingError(f"{path}: cannot be reached: {error}; give another --data-root") from error


def _folders_of_images(benchmark: Benchmark) -> tuple[str, ...]:
    return (_IMAGE_FOLDER, benchmark.images_from.config) if benchmark.images_from else ()


def _shared_images_among(benchmark: Benchmark, names: list[str], card: str) -> list[str]:
    """The files with the table that `images_from` says: those in `images/`, else those of its configuration."""
    source = benchmark.images_from
    if source is None:
        return []
    below = [name for name in names if _IMAGE_FOLDER in name.split("/")[:-1] and name.endswith(hub.SUFFIXES)]
    below = sorted(below) or [
        name for name in hub.files_of(names, source.config, source.split, card) if source.config in name.split("/")
    ]
    if not below:
        raise MissingError(f"{benchmark.name}: no images; put the Parquet files of {source.config} in {_IMAGE_FOLDER}/")
    return below


def _surveyed(
    benchmark: Benchmark, kind: Literal["folder", "hub"], where: str, paths: list[str], images: list[str]
) -> Location:
    if not paths:
        source = benchmark.source
        part = f"split {source.split!r}" + (f" of {source.config!r}" if source.config else "")
        raise MissingError(f"{benchmark.name}: {where} has no .parquet or .jsonl file with the {part}")
    # A benchmark with several columns of images leaves the later ones empty, or out.
    needed = benchmark.columns + benchmark.all_columns[len(benchmark.columns) :][:1]
    parts = _parts(benchmark, paths, needed)
    shared = parts if benchmark.id_column else _parts(benchmark, images, SHARED_COLUMNS)
    return Location(benchmark, kind, where, parts, shared)


def _parts(benchmark: Benchmark, paths: list[str], needed: Sequence[str]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for path in paths:
        try:
            table = tables.survey(path, sum(part.rows for part in parts))
        except UserError as error:
            raise MissingError(f"{benchmark.name}: {error}") from error
        lacking = [name for name in needed if name not in table.columns]
        if table.parts and lacking:
            named, there = f"{_plural('column', lacking)} {', '.join(lacking)}", ", ".join(table.columns)
            if benchmark.origin:
                raise WrongColumnsError(
                    f"{benchmark.name}: {path} lacks {named}; it has {there}. Name those that are there in "
                    f"{benchmark.origin.place}"
                )
            official = benchmark.source.hub_id or benchmark.title
            raise WrongColumnsError(
                f"{benchmark.name}: {path} lacks {named}; it has {there}. Give the files in the official columns of "
                f"{official}"
            )
        parts += table.parts
    return tuple(parts)


def _plural(word: str, items: Sequence[str]) -> str:
    return f"the {word}" + ("s" if len(items) > 1 else "")
