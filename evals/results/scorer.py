"""From the records of a benchmark to its samples and its row: documents are read again, without their images.

What was asked of a benchmark: which records are its present ones, and where its documents lie.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict

from cli_ray.config import EvaluationConfig
from cli_ray.evals.benchmark import Benchmark, Doc, Profile, ScoredItem
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import read
from cli_ray.evals.items.survey import Entry
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.aggregate import Row, row
from cli_ray.evals.score import AskJudge, score_one
from cli_ray.storage.folder import Folder


class Asked(BaseModel):
    """Written to `asked/<benchmark>.json` once the items are scanned, so that scoring never mixes two sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    where: str
    """The folder, or the hub's dataset and revision."""
    data_root: str
    miniature: bool
    limit: int | None
    decoding: str
    keys: dict[str, str]
    """Of the records, by sample id, in the order of the split."""

    @classmethod
    def of(cls, config: EvaluationConfig, location: Location, decoding: str, entries: Iterable[Entry]) -> Self:
        """What an evaluation asks."""
        return cls(
            benchmark=location.benchmark,
            where=location.where,
            data_root=config.data_root,
            miniature=config.miniature,
            limit=config.limit,
            decoding=decoding,
            keys={entry.id: entry.key for entry in entries},
        )

    @classmethod
    def read(cls, folder: Folder, benchmark: str) -> Self | None:
        """What was asked last, or None."""
        text = folder.read(f"asked/{benchmark}.json")
        return None if text is None else cls.model_validate_json(text)

    def write(self, folder: Folder) -> None:
        """Keeps it."""
        folder.write(f"asked/{self.benchmark}.json", self.model_dump_json())


@dataclass(frozen=True)
class Grader:
    """Who scores, and how."""

    profile: Profile
    judge: AskJudge | None = None
    """Gives the verdicts that are there; none is fetched."""
    judge_name: str = ""
    judge_prompt: str = ""
    """Hash of what the judge is asked."""
    judge_decoding: str = ""
    """How the verdicts were drawn."""


@dataclass(frozen=True)
class Scorecard:
    """What the replies to a benchmark came to."""

    row: Row
    samples: list[ScoredItem]
    """Of the items that have a record."""


def answered(
    benchmark: Benchmark, location: Location, records: Mapping[str, ReplyRecord]
) -> Iterator[tuple[Doc, ReplyRecord | None]]:
    """Documents in the order of the split, without images, each with its record if it has one.

    Args:
        records: by sample id.
    """
    for part in location.parts:
        for number, doc in read(location, part, benchmark.columns):
            yield doc, records.get(benchmark.sample_id(doc, number))


def scorecard(
    benchmark: Benchmark, location: Location, asked: Asked, records: Mapping[str, ReplyRecord], grader: Grader
) -> Scorecard:
    """Scores a benchmark.

    Args:
        asked: what was asked; for the row.
        records: by sample id.
    """
    samples = [
        _sample(benchmark, doc, record, grader) for doc, record in answered(benchmark, location, records) if record
    ]
    return Scorecard(
        row(
            benchmark,
            samples,
            len(asked.keys),
            grader.profile,
            grader.judge_name,
            grader.judge_prompt,
            judge_decoding=grader.judge_decoding,
            decoding=asked.decoding,
            where=asked.where,
        ),
        samples,
    )


def _sample(benchmark: Benchmark, doc: Doc, record: ReplyRecord, grader: Grader) -> ScoredItem:
    name, images = record.sample_id, record.image_hash
    try:
        return score_one(benchmark, doc, name, record.as_reply(), grader.judge, grader.profile, images)
    except Exception as error:  # a document that is not as the benchmark says; the others are scored
        rule = f"the document cannot be scored: {type(error).__name__}: {str(error)[:300]}"
        return ScoredItem(name, None, "", rule, "error", unit=name, cluster=images or name)
