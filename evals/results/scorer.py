"""From the stored replies of an evaluation to its results: documents are read again, without images, and scored.

`cli_ray.evals.run` calls the `Scorer` when a benchmark has all its replies, and again after a judge has answered.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict

from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Doc, Profile, ScoredItem
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.pictures import Pictures, read_pictures
from cli_ray.evals.items.sources import read
from cli_ray.evals.items.survey import Entry
from cli_ray.evals.judging.judge import prompt_hash, question_about
from cli_ray.evals.judging.verdicts import Question, Verdicts
from cli_ray.evals.records import Records, ReplyRecord, Store
from cli_ray.evals.results.aggregate import Row, row
from cli_ray.evals.results.definitions import Definitions
from cli_ray.evals.results.injections import write_injections
from cli_ray.evals.results.output import Output
from cli_ray.evals.results.samples import AskedItem, samples_table
from cli_ray.evals.results.service import Service
from cli_ray.evals.score import AskJudge, score_one
from cli_ray.storage.folder import Folder


class ItemSet(BaseModel):
    """The items that were asked of a benchmark last, and the keys of their records.

    Written to `asked/<benchmark>.json` once the items are scanned, so that scoring never mixes two sets.
    """

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
        """The items that an evaluation asks."""
        return cls(
            benchmark=location.benchmark.name,
            where=location.where,
            data_root=config.data_root,
            miniature=config.miniature,
            limit=config.limit,
            decoding=decoding,
            keys={entry.id: entry.key for entry in entries},
        )

    @classmethod
    def read(cls, folder: Folder, benchmark: str) -> Self:
        """The items of an output folder.

        Raises:
            UserError: it has none of this benchmark.
        """
        text = folder.read(f"asked/{benchmark}.json")
        if text is None:
            raise UserError(f"{folder.uri} does not say what was asked of {benchmark}: run `cli-ray eval` on it again")
        return cls.model_validate_json(text)

    def write(self, folder: Folder) -> None:
        """Keeps them in an output folder."""
        folder.write(f"asked/{self.benchmark}.json", self.model_dump_json())


@dataclass(frozen=True)
class Grader:
    """Who scores, and how."""

    profile: Profile
    judge: AskJudge | None = None
    """Looks up the verdicts that are there; none is fetched."""
    judge_name: str = ""
    judge_prompt: str = ""
    """Hash of what the judge is asked."""
    judge_decoding: str = ""
    """How the verdicts were drawn."""


class Scorer:
    """Scores the benchmarks of one evaluation, in one output folder.

    Raises:
        UserError: at construction, when the folder holds the evaluation of another model, with other prompts, or of
            another benchmark under the name of an own one.
    """

    def __init__(self, config: EvaluationConfig, model_hash: str, locations: Mapping[str, Location]) -> None:
        self.config, self.locations = config, locations
        self.output = Output(config, model_hash)
        self.store = Store(self.output.folder.uri)
        for location in locations.values():
            Definitions(self.output.folder).keep(location.benchmark)

    def score(self, name: str) -> Row:
        """Scores a benchmark from its stored replies, and writes samples, row and table."""
        benchmark, items = self.locations[name].benchmark, ItemSet.read(self.output.folder, name)
        grader = self._grader(benchmark)
        records = self.store.load(name).by(items.keys)
        pictures = read_pictures(self.output.folder, name)
        samples: list[ScoredItem] = []
        path = f"{self.output.folder.uri}/samples/{name}.parquet"
        with samples_table(path, grader.profile, grader.judge_name, grader.judge_prompt) as add:
            for doc, record in _answered(self.locations[name], records):
                samples.append(_scored(benchmark, doc, record, grader))
                add(record, samples[-1], _asked(benchmark, doc, record.sample_id, pictures))
            result = row(
                benchmark,
                samples,
                len(items.keys),
                grader.profile,
                grader.judge_name,
                grader.judge_prompt,
                judge_decoding=grader.judge_decoding,
                decoding=items.decoding,
                where=items.where,
                service=Service.of(self.config, records.values()) if self.config.served_name else None,
            )
        if self.config.gates:
            self._write_injections(name, records)
        self.output.write(benchmark, result, samples, records)
        return result

    def questions(self, name: str) -> Iterator[Question]:
        """What the judge of a benchmark is to be asked about its stored replies."""
        benchmark, items = self.locations[name].benchmark, ItemSet.read(self.output.folder, name)
        records = self.store.load(name).by(items.keys)
        for doc, record in _answered(self.locations[name], records):
            question = question_about(benchmark, doc, record.sample_id, record.as_reply(), self.config.reading)
            if question:
                yield question

    def _write_injections(self, name: str, records: Records) -> None:
        written = write_injections(self.output.folder, name, records.values())
        if written < len(records):
            print(
                f"{name}: gates are recorded of {written:,} of {len(records):,} samples: the others failed or were "
                "answered without --gates; another --output records them"
            )

    def _grader(self, benchmark: Benchmark) -> Grader:
        """With the judge of this call, or else the one that judged before, whose verdicts are kept."""
        earlier = self.output.row(benchmark.name)
        name = self.config.judge.model or (earlier.judge if earlier else "")
        if not benchmark.judge or not name:
            return Grader(self.config.reading)
        verdicts = Verdicts(self.output.folder, name)
        look_up = verdicts.lookup(benchmark.judge)
        return Grader(self.config.reading, look_up, name, prompt_hash(benchmark), verdicts.drawn(benchmark.name))


def _answered(location: Location, records: Mapping[str, ReplyRecord]) -> Iterator[tuple[Doc, ReplyRecord]]:
    """The documents that have a record, without images, in the order of the split.

    Args:
        records: by sample id.
    """
    benchmark = location.benchmark
    for part in location.parts:
        for number, doc in read(location, part, benchmark.columns):
            record = records.get(benchmark.sample_id(doc, number))
            if record:
                yield doc, record


def _scored(benchmark: Benchmark, doc: Doc, record: ReplyRecord, grader: Grader) -> ScoredItem:
    sample_id, images = record.sample_id, record.image_hash
    try:
        return score_one(benchmark, doc, sample_id, record.as_reply(), grader.judge, grader.profile, images)
    except Exception as error:  # a document that is not as the benchmark says; the others are scored
        rule = f"the document cannot be scored: {type(error).__name__}: {str(error)[:300]}"
        return ScoredItem(sample_id, None, "", rule, "error", unit=sample_id, cluster=images or sample_id)


def _asked(benchmark: Benchmark, doc: Doc, sample_id: str, pictures: Iterator[Pictures]) -> AskedItem:
    """What people need of an item beside its reply.

    Args:
        pictures: of this item and those behind it, in the order of the split.
    """
    # Of a document that is not as the benchmark says, the record and the rule say it.
    question, prompt, gold = (
        _text(read, doc) for read in (lambda doc: doc[benchmark.question], benchmark.prompt, benchmark.gold)
    )
    own = next((each for each in pictures if each.sample_id == sample_id), Pictures(sample_id))
    return AskedItem(question or prompt, prompt, gold, own.images, own.thumbnail)


def _text(read: Callable[[Doc], object], doc: Doc) -> str:
    try:
        return str(read(doc))
    except Exception:
        return ""
