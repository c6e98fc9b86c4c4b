"""A look at the items of benchmarks before any model is loaded: whether they are there, and what each asks and costs.

`require` and `survey` compare the data of benchmarks with what it should be; commands and training call them first.
`scan` goes over the items without decoding a pixel; the replies are planned and stored by what it says.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from PIL import Image

from cli_ray.data.images import FORMATS, decode
from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Doc
from cli_ray.evals.items.images import LIMITS, images_of, places_of
from cli_ray.evals.items.location import Location, Part
from cli_ray.evals.items.pictures import Pictures, is_shown, thumbnail
from cli_ray.evals.items.sources import WrongColumnsError, locate, read
from cli_ray.evals.records import digest, key_of
from cli_ray.evals.suite import prompts_of
from cli_ray.text import NOTHING

LISTING = ("benchmark", "title", "items", "metric", "scored by", "prompts", "dataset", "split")
"""Heads of the columns of `listing`."""
_NAMED = 3
"""Bad items that a finding names."""


@dataclass(frozen=True, slots=True)
class DataFinding:
    """The state of the data of a benchmark."""

    benchmark: str
    state: Literal[
        "there", "partial", "missing", "wrong columns", "miscounted", "unreadable", "duplicate ids", "bad items"
    ]
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
        text = self.detail or f"{self.benchmark}: {self.found:,} items in {self.where}"
        return f"{text}; {self.fix}" if self.fix else text

    def stands_in_the_way(self, allow_partial: bool) -> bool:
        """Whether the benchmark cannot be evaluated."""
        return self.state != "there" and not (allow_partial and self.state == "partial")


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
    pictures: Pictures | None = None
    """For people; None where it is not known where they lie."""


def listing(benchmarks: Iterable[Benchmark]) -> list[tuple[str, ...]]:
    """A row for each benchmark, with the columns of `LISTING`."""
    return [_listed(benchmark) for benchmark in benchmarks]


def survey(
    benchmarks: Iterable[Benchmark],
    data_root: str,
    miniature: bool,
    thorough: bool = False,
    *,
    allow_partial: bool = False,
) -> list[DataFinding]:
    """Looks at the data of benchmarks.

    Args:
        benchmarks: which ones.
        data_root: as for `cli_ray.evals.items.sources.locate`.
        miniature: as for `cli_ray.evals.items.sources.locate`.
        thorough: read every item, to find ids that occur twice and images that are missing or broken.
        allow_partial: a part of an official set is looked at as the whole is.
    """
    return [_look(benchmark, data_root, miniature, thorough, allow_partial)[0] for benchmark in benchmarks]


def require(
    benchmarks: Iterable[Benchmark],
    data_root: str,
    miniature: bool,
    limit: int | None,
    *,
    allow_partial: bool = False,
) -> dict[str, Location]:
    """Where the benchmarks lie, each with no more than its first `limit` items.

    Args:
        benchmarks: which ones.
        data_root: as for `cli_ray.evals.items.sources.locate`.
        miniature: as for `cli_ray.evals.items.sources.locate`.
        limit: items of each; all without.
        allow_partial: take a part of an official set; more than the set, or nothing of it, is refused all the same.

    Raises:
        UserError: some are missing, lack columns or have another number of items than they should; names them all.
    """
    looks = [
        (one, *_look(one, data_root, miniature, thorough=False, allow_partial=allow_partial)) for one in benchmarks
    ]
    faults = [finding for _, finding, _ in looks if finding.stands_in_the_way(allow_partial)]
    if faults:
        lines = "".join(f"\n- {finding}" for finding in faults)
        raise UserError(
            f"the data of {len(faults)} of {len(looks)} benchmarks is not as it should be:{lines}\n"
            "Put it right, or name the benchmarks that are there with --benchmarks"
        )
    return {
        benchmark.name: location if limit is None else _cut(benchmark, location, limit)
        for benchmark, _, location in looks
        if location
    }


def scan(location: Location, part: Part, decoding: str, model: str) -> list[Entry]:
    """The items of a part, of which no pixel is decoded. Bad ones get an `error` and stop no other.

    Args:
        location: of the benchmark.
        part: one of its parts.
        decoding: as in the record.
        model: hash of the weights and configs.

    Raises:
        UserError: the rows cannot be read, or one has no id.
    """
    return [_entry(location, part, row, doc, decoding, model) for row, doc in read(location, part)]


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


def _listed(benchmark: Benchmark) -> tuple[str, ...]:
    source = benchmark.source
    scored_by = "judge" if benchmark.judge else "server" if benchmark.submission else "rules"
    count = "any" if benchmark.count is None else f"{benchmark.count:,}"
    prompts = ", ".join(prompts_of(benchmark))
    dataset = (source.hub_id or benchmark.data or NOTHING) + (f" ({source.config})" if source.config else "")
    split = NOTHING if benchmark.data else source.split
    return benchmark.name, benchmark.title, count, benchmark.headlines, scored_by, prompts, dataset, split


def _look(
    benchmark: Benchmark, data_root: str, miniature: bool, thorough: bool, allow_partial: bool
) -> tuple[DataFinding, Location | None]:
    """The finding about a benchmark, and where it lies if it can be read."""
    name, count, place = benchmark.name, benchmark.count or 0, benchmark.data or data_root or "hub"
    try:
        location = locate(benchmark, data_root, miniature)
        items = sum(_kept(benchmark, location, part) for part in location.parts)
    except WrongColumnsError as error:
        return DataFinding(name, "wrong columns", count, 0, place, str(error)), None
    except UserError as error:
        return DataFinding(name, "missing", count, 0, place, str(error)), None
    if benchmark.origin and benchmark.count is None:
        if not items:
            detail = f"{name}: {benchmark.data or location.where} has no item" + " that `keep` takes" * bool(
                benchmark.keep
            )
            return DataFinding(name, "missing", 0, 0, place, detail), None
        # The whole of its data is the set that scores are of.
        location = replace(location, benchmark=replace(benchmark, count=items))
    finding = DataFinding(
        name, "there", items if miniature or benchmark.count is None else count, items, location.where
    )
    if items != finding.expected:
        finding = _miscounted(benchmark, finding, allow_partial)
    if thorough and not finding.stands_in_the_way(allow_partial):
        finding = _scanned(benchmark, location, finding)
    return finding, location


def _miscounted(benchmark: Benchmark, finding: DataFinding, allow_partial: bool) -> DataFinding:
    """The finding about a part of the official set, or about other items than those."""
    detail = f"{benchmark.name}: expected {finding.expected:,} items, found {finding.found:,} in {finding.where}"
    official = f"a score of another set is not that of {benchmark.title}"
    files = f"the files of {benchmark.source.hub_id or benchmark.title}"
    if 0 < finding.found < finding.expected:
        fix = f"{official}: complete {files}, or take the part with --allow-partial"
        says = "its row will say that it is not the official set"
        return replace(finding, state="partial", detail=detail, fix=says if allow_partial else fix)
    what = "take out what is not in" if finding.found else "put in"
    return replace(finding, state="miscounted", detail=detail, fix=f"{official}: {what} {files}")


def _scanned(benchmark: Benchmark, location: Location, finding: DataFinding) -> DataFinding:
    """The finding after a look at every item."""
    try:
        entries = [entry for part in location.parts for entry in scan(location, part, "", "")]
    except UserError as error:
        return replace(finding, state="unreadable", detail=str(error))
    try:
        check_ids(benchmark.name, entries)
    except UserError as error:
        return replace(finding, state="duplicate ids", detail=str(error))
    bad = [f"{entry.id} (row {entry.row}): {entry.error}" for entry in entries if entry.error]
    bad += _unscorable(benchmark, location)
    if not bad:
        return finding
    few = "; ".join(bad[:_NAMED]) + "; ..." * (len(bad) > _NAMED)
    detail = f"{benchmark.name}: {len(bad):,} of {len(entries):,} items cannot be asked or scored: {few}"
    return replace(finding, state="bad items", detail=detail, fix=f"fix them in {location.where}")


def _unscorable(benchmark: Benchmark, location: Location) -> list[str]:
    """Rows in which the scorer does not find what it needs, such as a gold answer, and why."""
    bad = []
    for part in location.parts:
        for number, doc in read(location, part, benchmark.columns):
            try:
                benchmark.score(doc, "")
            except Exception as error:  # whatever a row that is not as the benchmark says makes of it
                bad.append(f"row {number}: no scoring: {type(error).__name__}: {error}")
    return bad


def _kept(benchmark: Benchmark, location: Location, part: Part) -> int:
    """Items of a part; rows are read only if some of them do not belong to the benchmark."""
    return sum(1 for _ in read(location, part, columns=())) if benchmark.keep else part.rows


def _cut(benchmark: Benchmark, location: Location, limit: int) -> Location:
    """The location with the first items alone."""
    parts: list[Part] = []
    for part in location.parts:
        rows, items = _rows_of_first(benchmark, location, part, limit)
        parts += [replace(part, rows=rows)] if items else []
        limit -= items
    return replace(location, parts=tuple(parts))


def _rows_of_first(benchmark: Benchmark, location: Location, part: Part, limit: int) -> tuple[int, int]:
    """How many rows of a part hold its first items, and how many items these are."""
    if not benchmark.keep or limit <= 0:
        return (min(limit, part.rows),) * 2
    numbers = [number for number, _ in islice(read(location, part, columns=()), limit)]
    return (numbers[-1] - part.first + 1, len(numbers)) if numbers else (0, 0)


def _entry(location: Location, part: Part, row: int, doc: Doc, decoding: str, model: str) -> Entry:
    benchmark = location.benchmark
    try:
        name = benchmark.sample_id(doc, row)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{benchmark.name}: row {row} of {location.where} has no id: {error!r}; fix the row") from error
    prompt = image_hash = fault = ""
    pictures: Pictures | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    try:
        prompt = benchmark.prompt(doc)
        prompt.encode()  # halves of code points are no text that a tokenizer takes
        images = images_of(location, doc)
        image_hash = digest(*images)
        small = _small(images[0]) if images and is_shown(name, location.rows) else None
        pictures = Pictures(name, places_of(location, part, row, doc), small)
        sizes = tuple(_size(number, image) for number, image in enumerate(images, start=1))
    except BadDataError as error:
        fault = str(error)
    except Exception as error:  # a prompt builder on a row that is not as the benchmark says
        fault = f"prompt: {type(error).__name__}: {str(error)[:300]}"
    prompt_hash = digest(prompt)
    key = key_of(benchmark.name, name, prompt_hash, image_hash, decoding, model)
    return Entry(name, row, key, prompt_hash, image_hash, len(prompt), sizes, fault, pictures)


def _small(encoded: bytes) -> bytes | None:
    try:
        return thumbnail(decode(encoded, LIMITS))
    except BadDataError:  # the record of its reply says why
        return None


def _size(number: int, encoded: bytes) -> tuple[int, int]:
    try:
        return Image.open(io.BytesIO(encoded), formats=FORMATS).size
    except Exception as error:  # whatever a decoder raises on hostile bytes
        raise BadDataError("broken image", f"image {number}: {type(error).__name__}: {error}") from error
