"""What of the benchmarks is there, missing or not as it should be: before any model is loaded.

A light pass over the items of a benchmark before anything is generated: what each is called, keyed by and costs.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from PIL import Image

from cli_ray.data.images import FORMATS
from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Doc
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location, Part
from cli_ray.evals.items.sources import WrongColumnsError, locate, read
from cli_ray.evals.records import digest, key_of
from cli_ray.evals.suite import BENCHMARKS


@dataclass(frozen=True, slots=True)
class Entry:
    """One item."""

    id: str
    row: int
    """Its number in the split."""
    key: str
    """Of its record."""
    prompt_hash: str
    image_hash: str
    """Over the encoded images; empty when one cannot be had."""
    prompt_chars: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height of the images by their headers, pixels."""
    error: str = ""
    """Why it cannot be asked; its sample is recorded as `error`."""


def scan(benchmark: Benchmark, location: Location, part: Part, decoding: str, model: str) -> list[Entry]:
    """The items of a part, of which no pixel is decoded. Bad ones get an `error` and stop no other.

    Args:
        benchmark: which one.
        location: where it lies.
        part: one of its parts.
        decoding: as in the record.
        model: hash of the weights and configs.

    Raises:
        UserError: the rows cannot be read, or one has no id.
    """
    return [_entry(benchmark, location, row, doc, decoding, model) for row, doc in read(location, part)]


def check_ids(name: str, entries: Iterable[Entry]) -> None:
    """Makes sure that every item of a benchmark can be told from the others.

    Raises:
        UserError: two have one id.
    """
    rows: dict[str, int] = {}
    for entry in entries:
        if entry.id in rows:
            raise UserError(
                f"{name}: rows {rows[entry.id]} and {entry.row} have the same id {entry.id!r}, so that their replies "
                "would be taken for each other; remove one, or a file that is there twice"
            )
        rows[entry.id] = entry.row


def _entry(benchmark: Benchmark, location: Location, row: int, doc: Doc, decoding: str, model: str) -> Entry:
    try:
        name = benchmark.sample_id(doc, row)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{benchmark.name}: row {row} of {location.where} has no id: {error!r}; mend the row"
        ) from error
    prompt = image_hash = fault = ""
    sizes: tuple[tuple[int, int], ...] = ()
    try:
        prompt = benchmark.prompt(doc)
        prompt.encode()  # halves of code points are no text that a tokenizer takes
        images = images_of(benchmark, location, doc)
        image_hash = digest(*images)
        sizes = tuple(_size(number, image) for number, image in enumerate(images, start=1))
    except BadDataError as error:
        fault = str(error)
    except Exception as error:  # a prompt builder on a row that is not as the benchmark says
        fault = f"prompt: {type(error).__name__}: {str(error)[:300]}"
    prompt_hash = digest(prompt)
    key = key_of(benchmark.name, name, prompt_hash, image_hash, decoding, model)
    return Entry(name, row, key, prompt_hash, image_hash, len(prompt), sizes, fault)


def _size(number: int, encoded: bytes) -> tuple[int, int]:
    try:
        return Image.open(io.BytesIO(encoded), formats=FORMATS).size
    except Exception as error:  # whatever a decoder raises on hostile bytes
        raise BadDataError("broken image", f"image {number}: {type(error).__name__}: {error}") from error


LISTING = ("benchmark", "title", "items", "metric", "scored by", "hub dataset", "split")
"""Heads of the columns of `listing`."""

_NAMED = 3
"""Bad items that a finding names."""


@dataclass(frozen=True, slots=True)
class DataFinding:
    """What was found of a benchmark."""

    benchmark: str
    state: Literal["there", "missing", "wrong columns", "miscounted", "unreadable", "duplicate ids", "bad items"]
    expected: int
    """Items."""
    found: int
    where: str
    """Folder, or dataset and revision."""
    detail: str = ""
    """What is wrong."""
    fix: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        said = self.detail or f"{self.benchmark}: {self.found:,} items in {self.where}"
        return f"{said}; {self.fix}" if self.fix else said


def listing() -> list[tuple[str, ...]]:
    """All benchmarks, a row each, with the columns of `LISTING`."""
    return [_listed(one) for one in BENCHMARKS.values()]


def survey(
    benchmarks: Iterable[Benchmark], data_root: str, miniature: bool, thorough: bool = False
) -> list[DataFinding]:
    """Looks at the data of benchmarks.

    Args:
        benchmarks: which ones.
        data_root: as for `cli_ray.evals.items.sources.locate`.
        miniature: as for `cli_ray.evals.items.sources.locate`.
        thorough: read every item, to find ids that occur twice and images that are missing or broken.
    """
    return [_survey(one, data_root, miniature, thorough)[0] for one in benchmarks]


def require(benchmarks: Iterable[Benchmark], data_root: str, miniature: bool, limit: int | None) -> dict[str, Location]:
    """Where the benchmarks lie, each with no more than its first `limit` items.

    Raises:
        UserError: some are missing, lack columns or have another number of items than they should; names them all.
    """
    looked = [(one, *_survey(one, data_root, miniature, thorough=False)) for one in benchmarks]
    faults = [finding for _, finding, _ in looked if finding.state != "there"]
    if faults:
        lines = "".join(f"\n- {finding}" for finding in faults)
        raise UserError(
            f"the data of {len(faults)} of {len(looked)} benchmarks is not as it should be:{lines}\n"
            "Put it right, or name the benchmarks that are there with --benchmarks"
        )
    found = {one.name: (one, location) for one, _, location in looked if location}
    return {name: location if limit is None else _cut(one, location, limit) for name, (one, location) in found.items()}


def _listed(one: Benchmark) -> tuple[str, ...]:
    config = f" ({one.source.config})" if one.source.config else ""
    scored_by = "judge" if one.judge else "server" if one.submission else "rules"
    hub_id = one.source.ids[0] + config
    return one.name, one.title, f"{one.count:,}", one.headlines, scored_by, hub_id, one.source.split


def _survey(one: Benchmark, data_root: str, miniature: bool, thorough: bool) -> tuple[DataFinding, Location | None]:
    try:
        location = locate(one, data_root, miniature)
        found = sum(_kept(one, location, part) for part in location.parts)
    except UserError as error:
        state: Literal["missing", "wrong columns"] = "missing"
        if isinstance(error, WrongColumnsError):
            state = "wrong columns"
        return DataFinding(one.name, state, one.count, 0, data_root or "hub", str(error)), None
    expected = found if miniature else one.count
    finding = DataFinding(one.name, "there", expected, found, location.where)
    if found != expected:
        detail = f"{one.name}: expected {expected:,} items, found {found:,} in {location.where}"
        fix = f"a score of another set is not that of {one.title}: complete the files of {one.source.ids[0]}"
        return replace(finding, state="miscounted", detail=detail, fix=fix), location
    return _scanned(one, location, finding) if thorough else finding, location


def _scanned(one: Benchmark, location: Location, finding: DataFinding) -> DataFinding:
    """The finding after a look at every item."""
    try:
        entries = [entry for part in location.parts for entry in scan(one, location, part, "", "")]
    except UserError as error:
        return replace(finding, state="unreadable", detail=str(error))
    try:
        check_ids(one.name, entries)
    except UserError as error:
        return replace(finding, state="duplicate ids", detail=str(error))
    bad = [f"{entry.id} (row {entry.row}): {entry.error}" for entry in entries if entry.error]
    bad += _unscorable(one, location)
    if not bad:
        return finding
    few = "; ".join(bad[:_NAMED]) + "; ..." * (len(bad) > _NAMED)
    detail = f"{one.name}: {len(bad):,} of {len(entries):,} items cannot be asked or scored: {few}"
    return replace(finding, state="bad items", detail=detail, fix=f"mend them in {location.where}")


def _unscorable(one: Benchmark, location: Location) -> list[str]:
    """Rows in which the scorer does not find what it needs, such as a gold answer, and why."""
    bad = []
    for part in location.parts:
        for number, doc in read(location, part, one.columns):
            try:
                one.score(doc, "")
            except Exception as error:  # whatever a row that is not as the benchmark says makes of it
                bad.append(f"row {number}: no scoring: {type(error).__name__}: {error}")
    return bad


def _kept(one: Benchmark, location: Location, part: Part) -> int:
    """Items of a part; rows are read only if some of them do not belong to the benchmark."""
    return sum(1 for _ in read(location, part, columns=())) if one.keep else part.rows


def _cut(one: Benchmark, location: Location, limit: int) -> Location:
    """The location with the first items alone."""
    parts: list[Part] = []
    for part in location.parts:
        rows, items = _rows_of_first(one, location, part, limit)
        parts += [replace(part, rows=rows)] if items else []
        limit -= items
    return replace(location, parts=tuple(parts))


def _rows_of_first(one: Benchmark, location: Location, part: Part, limit: int) -> tuple[int, int]:
    """How many rows of a part hold its first items, and how many items these are."""
    if not one.keep or limit <= 0:
        return (min(limit, part.rows),) * 2
    numbers = [number for number, _ in islice(read(location, part, columns=()), limit)]
    return (numbers[-1] - part.first + 1, len(numbers)) if numbers else (0, 0)
