"""A light pass over the items of a benchmark before anything is generated: what each is called, keyed by and costs."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from cli_ray.data.images import FORMATS
from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Doc
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location, Part
from cli_ray.evals.items.sources import read
from cli_ray.evals.record import digest, key_of


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
