"""The replies that another tool recorded, scored by our rules against our documents: one side of a comparison."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cli_ray.data.sample import BadDataError
from cli_ray.evals.benchmark import Benchmark, Doc, Profile, Prompts, Reply, ScoredItem
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import read
from cli_ray.evals.records import digest
from cli_ray.evals.results.aggregate import Row, row
from cli_ray.evals.results.paired import Side, SideItem
from cli_ray.evals.results.partners.matching import Matches, OurItem, item_of, matched, plain
from cli_ray.evals.results.partners.records import Partner, RecordsError, TheirRecord
from cli_ray.evals.score import score_one

DECODING = "unknown"
_TOGETHER = "the difference is of model and prompt together"


@dataclass(frozen=True)
class Scored:
    """One benchmark of a partner."""

    row: Row
    side: Side
    notes: tuple[str, ...]
    """What the reader must know of it."""


def score_partner(
    partner: Partner, location: Location, profile: Profile, image_hashes: Mapping[str, str] | None
) -> Scored:
    """Scores what a partner recorded of a benchmark.

    Args:
        partner: has a file of the benchmark.
        location: of the documents.
        profile: how replies are read.
        image_hashes: of the items that they are known of, by id; None reads the images, for items with one image are
            not independent.

    Raises:
        RecordsError: its file cannot be read, or none of its records is of an item of ours.
        UserError: the documents cannot be read.
    """
    benchmark = location.benchmark
    path = partner.files[benchmark.name]
    items = list(_items(location))
    found = matched(items, partner.read(path), partner.holds_prompts)
    if not found.records:
        reasons = _reasons(found) or "it has none"
        raise RecordsError(f"{path}: no record is known to be of an item in {location.where}: {reasons}")
    side = {}
    names = {int(item.row): item.id for item in items}
    reads_images = image_hashes is None and benchmark.cluster is None
    for number, doc in _docs(location, None if reads_images else benchmark.columns):
        record = found.records.get(names.get(number, ""))
        if record:
            name = names[number]
            images = _images(location, doc) if reads_images else (image_hashes or {}).get(name, "")
            sample = _scored(benchmark, doc, name, record, profile, images)
            side[name] = SideItem(sample, (digest(benchmark.prompt(doc)), images), record.reply)
    samples = [item.sample for item in side.values()]
    result = row(benchmark, samples, len(items), profile, decoding=DECODING, where=path)
    return Scored(
        result, Side(side, frozenset({DECODING})), tuple(_notes(partner, benchmark.prompts, path, items, found))
    )


def _docs(location: Location, columns: Sequence[str] | None) -> Iterator[tuple[int, Doc]]:
    for part in location.parts:
        yield from read(location, part, columns)


def _items(location: Location) -> Iterator[OurItem]:
    """The items by their texts; without those whose rows are not as the benchmark says, which cannot be asked."""
    for number, doc in _docs(location, location.benchmark.columns):
        with suppress(KeyError, TypeError, ValueError, IndexError, AttributeError):
            yield item_of(location.benchmark, doc, number)


def _images(location: Location, doc: Doc) -> str:
    try:
        return digest(*images_of(location, doc))
    except BadDataError:  # the item was asked all the same, by whoever has its image
        return ""


def _scored(
    benchmark: Benchmark, doc: Doc, name: str, record: TheirRecord, profile: Profile, images: str
) -> ScoredItem:
    reply = Reply(record.reply, "error" if record.failed else "stop")
    try:
        return score_one(benchmark, doc, name, reply, None, profile, images)
    except Exception as error:  # a document that is not as the benchmark says; the others are scored
        rule = f"the document cannot be scored: {type(error).__name__}: {str(error)[:300]}"
        return ScoredItem(name, None, "", rule, "error", unit=name, cluster=images or name)


def _notes(partner: Partner, prompts: Prompts, path: str, items: list[OurItem], found: Matches) -> Iterator[str]:
    ours = {item.id: item for item in items}
    total = len(found.records) + sum(found.left_out.values())
    if found.left_out:
        yield f"{sum(found.left_out.values()):,} of {total:,} records left out: {_reasons(found)}"
    if partner.holds_prompts:
        other = sum(plain(record.question) != ours[name].prompt for name, record in found.records.items())
        if other:
            yield f"{other:,} of {len(found.records):,} items asked in other words than ours: {_TOGETHER}"
    else:
        wording = "may be that of the model's wrapper" if prompts == "vlmevalkit" else "is not ours"
        yield f"what {partner.tool} asked is not recorded, and its wording {wording}: {_TOGETHER}"
    empty = sum(not record.reply for record in found.records.values())
    if empty:
        yield f"{empty:,} empty replies" + (
            "; xlsx leaves out texts that are too long" if path.endswith(".xlsx") else ""
        )


def _reasons(found: Matches) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
