"""Samples as cards: their picture, question, gold answer and replies, cut to what a page can hold.

`benchmarks` and `flips` show them. All texts are hostile; they stay texts here, and the page escapes them.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from typing import Any

from cli_ray.evals.results.aggregate import Row
from cli_ray.evals.results.samples import ASKED, read_columns
from cli_ray.report.section import Card

LONGEST = 1_000
"""Characters of a text that are shown."""
LARGEST = 64 * 1024
"""Bytes of a thumbnail that is shown; those of an evaluation have about 6 KiB."""
FAULTS = {"error": "failed", "unparsed": "could not be read", "truncated": "was cut", "unjudged": "waits for a judge"}
COLUMNS = ("sample_id", "reply", "error", "parsed", "rule", "score", "state", "truncated", *ASKED)


def failed_cards(folder: str, rows: Sequence[Row], most: int) -> tuple[list[Card], int]:
    """Cards of samples that failed, were cut, could not be read or judged, and how many such samples there are.

    Args:
        folder: output of the evaluation.
        rows: of its benchmarks.
        most: cards at most, shared among benchmarks.
    """
    faulty = [row for row in rows if row.errors or row.unparsed or row.truncated or row.unjudged]
    cards, count = list[Card](), 0
    for row in faulty:
        numbers = itertools.count()
        rows_of = (each for each in read_rows(folder, row.benchmark) if each["state"] in FAULTS or each["truncated"])
        numbered = ((*_rank(each), next(numbers), each) for each in rows_of)
        cards += [_card(row, each) for *_, each in nsmallest(max(1, most // len(faulty)), numbered)]
        count += next(numbers)
    return cards[:most], count


def read_rows(folder: str, benchmark: str, columns: Sequence[str] = COLUMNS) -> Iterator[dict[str, Any]]:
    """The rows of a benchmark's samples, one by one.

    Raises:
        UserError: they cannot be read.
    """
    return read_columns(f"{folder.rstrip('/')}/samples/{benchmark}.parquet", columns)


def _rank(row: dict[str, Any]) -> tuple[bool, bytes]:
    """Those with a picture come first."""
    return row["thumbnail"] is None, draw(row["sample_id"])


def draw(sample_id: str) -> bytes:
    """What orders samples as if at random, always alike."""
    return hashlib.blake2b(sample_id.encode(errors="surrogatepass"), digest_size=8).digest()


def asked(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Question and gold answer, and where a picture lies that is not shown; nothing of an older table."""
    if row["question"] is None:
        return []
    fields = [("question", cut(row["question"])), ("gold answer", cut(row["gold"]) or "hidden")]
    return fields if picture(row) else [*fields, ("picture", cut(", ".join(row["images"] or ())))]


def picture(row: dict[str, Any]) -> bytes | None:
    """The thumbnail of a row."""
    small: bytes | None = row["thumbnail"]
    return small if small and len(small) <= LARGEST else None


def cut(text: str) -> str:
    """The beginning of a text, and how much is left out."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"


def _card(row: Row, columns: dict[str, Any]) -> Card:
    fault = FAULTS.get(columns["state"], FAULTS["truncated"])
    said = ("error", cut(columns["error"])) if columns["error"] else ("reply", cut(columns["reply"]))
    read = [("read as", cut(columns["parsed"])), ("rule", cut(columns["rule"]))]
    score = [] if columns["score"] is None else [("score", f"{columns['score']:g}")]
    title = f"{row.title} {cut(columns['sample_id'])} {fault}"
    fields = [said, *(field for field in (*read, *score) if field[1])]
    return Card(title, picture(columns), [*asked(columns), *fields], "bad")
