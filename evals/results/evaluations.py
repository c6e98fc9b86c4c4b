"""What `compare` is given: output folders of `cli-ray eval`, and the records of other tools.

`opened` tells them apart. Records of other tools are scored when a benchmark of theirs is asked for, as the output
folder beside them was: under its profile, against the documents that it says.
"""

from collections.abc import Mapping
from functools import cache
from typing import Protocol

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import locate
from cli_ray.evals.results.aggregate import Row
from cli_ray.evals.results.definitions import Definitions
from cli_ray.evals.results.paired import Side, read_side
from cli_ray.evals.results.partners import lmms_eval, vlmevalkit
from cli_ray.evals.results.partners.records import Partner, RecordsError
from cli_ray.evals.results.partners.scoring import Scored, score_partner
from cli_ray.evals.results.scorer import ItemSet
from cli_ray.evals.results.table import Results, read_results
from cli_ray.evals.suite import benchmark as named
from cli_ray.storage.files import resolve
from cli_ray.storage.folder import Folder
from cli_ray.text import printable


class Evaluation(Protocol):
    """One side of a comparison."""

    place: str
    """As the user named it."""
    model: str
    model_hash: str
    """Empty where it is not known."""
    titles: Mapping[str, str]
    """Of its benchmarks, by name."""
    notes: tuple[str, ...]
    """What the reader must know of it."""

    def row(self, name: str) -> Row:
        """The row of a benchmark.

        Raises:
            RecordsError: there is no way to have it.
        """
        ...

    def side(self, name: str) -> Side:
        """Its items."""
        ...

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark, as far as a comparison needs it.

        Raises:
            UserError: it is defined in Python, which the command was not told of.
        """
        ...

    def digest(self, name: str) -> str:
        """Of the definition of an own benchmark; empty for another one."""
        ...

    def notes_on(self, name: str) -> tuple[str, ...]:
        """What the reader must know of a benchmark."""
        ...


class OutputFolder:
    """An output folder of ours.

    Args:
        place: of the folder.
        results: that it holds.
        own: own benchmarks by name that the command was told of.
    """

    def __init__(self, place: str, results: Results, own: Mapping[str, Benchmark]) -> None:
        self.place, self.model, self.model_hash = place, results.model, results.model_hash
        self._definitions = Definitions(Folder(place), own)
        self._rows = {row.benchmark: row for row in results.rows}
        self.titles: Mapping[str, str] = {name: row.title for name, row in self._rows.items()}
        self.notes: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        """As it is stored."""
        return self._rows[name]

    def side(self, name: str) -> Side:
        """As it is stored."""
        return read_side(f"{self.place.rstrip('/')}/samples/{name}.parquet")

    def benchmark(self, name: str) -> Benchmark:
        """By its definition in the folder, or by what the row says."""
        return self._definitions.comparable(self._rows[name])

    def digest(self, name: str) -> str:
        """As it is stored."""
        return self._definitions.digest(name)

    def notes_on(self, name: str) -> tuple[str, ...]:
        """None: the row has them."""
        return ()

    def documents(self, name: str, data_root: str) -> Location:
        """The documents that a benchmark was evaluated on.

        Args:
            name: of the benchmark.
            data_root: where they lie now; where they lay then when empty.
        """
        items = ItemSet.read(Folder(self.place), name)
        benchmark = self._definitions.needed(name, self._rows[name].prompts)
        return locate(benchmark, data_root or items.data_root, items.miniature and not data_root)


class PartnerRecords:
    """The records of another tool.

    Args:
        partner: what was found of them.
        beside: the output folder that they are compared with, if it is one.
        data_root: of the documents; those of `beside`, or the hub's, when empty.
    """

    def __init__(self, partner: Partner, beside: OutputFolder | None, data_root: str) -> None:
        self.place, self.model, self.model_hash = partner.place, printable(partner.model), ""
        self.titles: Mapping[str, str] = {name: named(name).title for name in partner.files}
        self.notes = (
            f"replies that {partner.tool} recorded, scored by our rules.",
            *(printable(note) for note in partner.notes),
        )
        self._partner, self._beside, self._data_root = partner, beside, data_root
        self._scored = cache(self._score)

    def row(self, name: str) -> Row:
        """Of their replies by our rules."""
        return self._scored(name).row

    def side(self, name: str) -> Side:
        """Of their replies by our rules."""
        return self._scored(name).side

    def benchmark(self, name: str) -> Benchmark:
        """One of ours, as it was scored: no other tool has own ones."""
        return named(name, self.row(name).prompts)

    def digest(self, name: str) -> str:
        """None."""
        return ""

    def notes_on(self, name: str) -> tuple[str, ...]:
        """Which records are left out, and why, and what was asked."""
        return self._scored(name).notes

    def _score(self, name: str) -> Scored:
        try:
            if self._beside is None:
                location = locate(named(name), self._data_root, miniature=False)
                return score_partner(self._partner, location, "lmms-eval/0.7.3", None)
            location = self._beside.documents(name, self._data_root)
            hashes = {id_: item.question[1] for id_, item in self._beside.side(name).items.items()}
            return score_partner(self._partner, location, self._beside.row(name).profile, hashes)
        except RecordsError:
            raise
        except UserError as error:
            raise RecordsError(f"its documents are needed to score replies of {self._partner.tool}: {error}") from error


def opened(a: str, b: str, data_root: str, own: Mapping[str, Benchmark]) -> tuple[Evaluation, Evaluation]:
    """The two sides of a comparison.

    Args:
        a: folder or file.
        b: another.
        data_root: of the documents that records of other tools are scored against.
        own: own benchmarks by name that the command was told of.

    Raises:
        UserError: one is neither an output folder nor the records of a tool that is known.
    """
    found = [partner_at(place) or OutputFolder(place, read_results(place), own) for place in (a, b)]
    ours = next((side for side in found if isinstance(side, OutputFolder)), None)
    first, second = (PartnerRecords(side, ours, data_root) if isinstance(side, Partner) else side for side in found)
    return first, second


def partner_at(place: str) -> Partner | None:
    """The records of another tool at a file or in a folder; None for an output folder, and for what is neither.

    Raises:
        UserError: they are there and cannot be taken.
    """
    filesystem, inner = resolve(place)
    if filesystem.get_file_info(inner).is_file:
        partner = lmms_eval.partner_of(place) or vlmevalkit.partner_of(place)
        if partner is None:
            raise UserError(
                f"{place}: is neither lmms-eval's DATE_samples_TASK.jsonl nor VLMEvalKit's MODEL_DATASET.xlsx, .tsv or "
                ".json"
            )
        return partner
    folder = Folder(place)
    if folder.exists("results.json"):
        return None
    return lmms_eval.partner_in(folder) or vlmevalkit.partner_in(folder)
