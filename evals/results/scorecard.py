"""From the records of a benchmark to its samples and its row: documents are read again, without their images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evals.benchmark import Benchmark, Doc, Profile, Sample
from evals.data.location import Location
from evals.data.sources import read
from evals.record import Record, digest
from evals.results.aggregate import Row, row
from evals.score import AskJudge, score_one


@dataclass(frozen=True)
class Scorecard:
    """What the replies to a benchmark came to."""

    row: Row
    samples: list[Sample]
    """Of the items that have a record."""


def documents(benchmark: Benchmark, location: Location) -> Iterator[tuple[str, Doc]]:
    """Ids and documents in the order of the split, without images."""
    return (
        (benchmark.sample_id(doc, number), doc)
        for part in location.parts
        for number, doc in read(location, part, benchmark.columns)
    )


def answered(
    benchmark: Benchmark, location: Location, records: Mapping[str, Record]
) -> Iterator[tuple[Doc, Record | None]]:
    """Documents with the record of each, or None where there is none for the present prompt.

    Args:
        records: by sample id.
    """
    for sample_id, doc in documents(benchmark, location):
        record = records.get(sample_id)
        stale = record is not None and record.prompt_hash != digest(benchmark.prompt(doc))
        yield doc, None if stale else record


def scorecard(
    benchmark: Benchmark,
    location: Location,
    records: Mapping[str, Record],
    profile: Profile,
    judge: AskJudge | None = None,
    judge_name: str = "",
    judge_prompt: str = "",
) -> Scorecard:
    """Scores a benchmark.

    Args:
        records: by sample id.
        judge: asked for the verdicts on judged replies, none of which it fetches now.
        judge_name: for the row.
        judge_prompt: hash of what it is asked, for the row.
    """
    samples, expected = [], 0
    for doc, record in answered(benchmark, location, records):
        expected += 1
        if record:
            reply = record.as_reply()
            samples.append(score_one(benchmark, doc, record.sample_id, reply, judge, profile, record.image_hash))
    return Scorecard(row(benchmark, samples, expected, profile, judge_name, judge_prompt), samples)
