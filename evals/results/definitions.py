"""The own benchmarks of an output folder: their definitions are kept in it, and found again for its rows.

The scorer keeps them; `cli-ray judge` and comparisons find them. Of a benchmark in Python only its digest is kept: code
that lies in a folder of results is never run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Graded, Metrics, Prompts, ScoredItem, Source
from cli_ray.evals.results.aggregate import Row
from cli_ray.evals.scoring.means import percent
from cli_ray.evals.suite import BENCHMARKS, benchmark, plugged_in
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import json_line

FOLDER = "benchmarks"
"""Of an output folder: `NAME.toml` is a definition, `NAME.json` what is known of one in Python."""


@dataclass(frozen=True)
class Definitions:
    """The benchmarks of an output folder.

    Args:
        folder: the output.
        given: own benchmarks by name that the command was told of, which come first.
    """

    folder: Folder
    given: Mapping[str, Benchmark] = field(default_factory=dict)

    def keep(self, benchmark: Benchmark) -> None:
        """Keeps the definition of an own benchmark.

        Raises:
            UserError: the folder holds results of another one under its name.
        """
        origin, name = benchmark.origin, benchmark.name
        if origin is None:
            return
        if self.folder.exists(f"rows/{name}.json") and self.digest(name) not in ("", origin.digest):
            raise UserError(
                f"{self.folder.uri} holds results of another benchmark {name!r} than {origin.place} defines now: give "
                "it another name, or name another --output"
            )
        known = json.dumps({"place": origin.place, "digest": origin.digest}, indent=2)
        for ending, text in (("toml", origin.toml), ("json", "" if origin.toml else known)):
            if text:
                self.folder.write(f"{FOLDER}/{name}.{ending}", text)
            elif self.folder.exists(f"{FOLDER}/{name}.{ending}"):
                self.folder.delete_file(f"{FOLDER}/{name}.{ending}")

    def digest(self, name: str) -> str:
        """Of the definition that is kept; empty where none is."""
        if benchmark := self._kept(name):
            return benchmark.origin.digest if benchmark.origin else ""
        known = json_line(self._read(f"{name}.json") or "") or {}
        return str(known.get("digest", ""))

    def of(self, name: str, prompts: Prompts = "lmms-eval") -> Benchmark | None:
        """The benchmark of a row, with the prompts of a kit; None of one in Python that the command was not told of.

        Raises:
            UserError: the one that was given is not that of the results.
        """
        if name in BENCHMARKS:
            return benchmark(name, prompts)
        found = self.given.get(name) or self._kept(name)
        if found is None and self._read(f"{name}.json"):
            found = plugged_in().get(name)
        if found and found.origin and self.digest(name) not in ("", found.origin.digest):
            raise UserError(
                f"{self.folder.uri} holds results of another benchmark {name!r} than {found.origin.place} defines: "
                "give the definition that they were made with"
            )
        return found

    def comparable(self, row: Row) -> Benchmark:
        """The benchmark by which a row can be compared; where its headline is a mean, the row says enough.

        Raises:
            UserError: it is defined in Python, which the command was not told of.
        """
        if row.linear and row.benchmark not in BENCHMARKS:
            return _mean_of(row)
        return self.needed(row.benchmark, row.prompts)

    def needed(self, name: str, prompts: Prompts = "lmms-eval") -> Benchmark:
        """The benchmark of a row, with the prompts of a kit.

        Raises:
            UserError: it is defined in Python, which the command was not told of.
        """
        if found := self.of(name, prompts):
            return found
        raise UserError(
            f"{name} in {self.folder.uri} was defined in Python, and code in a folder of results is not run: name its "
            "file with --benchmark-file"
        )

    def _kept(self, name: str) -> Benchmark | None:
        if (text := self._read(f"{name}.toml")) is None:
            return None
        from cli_ray.evals.own.build import build  # which evaluations of our benchmarks do without
        from cli_ray.evals.own.definition import parse

        place = self.folder.join(f"{FOLDER}/{name}.toml")
        return build(parse(text, place), place)

    def _read(self, file: str) -> str | None:
        """The text of a file; a name that leads out of the folder, as one of another's results may, is none."""
        return None if "/" in file else self.folder.read(f"{FOLDER}/{file}")


def _mean_of(row: Row) -> Benchmark:
    """What a comparison needs of a benchmark whose headline is 100 times the mean score."""

    def aggregate(samples: Sequence[ScoredItem]) -> Metrics:
        return {row.metric: percent(samples)}

    return Benchmark(
        name=row.benchmark,
        title=row.title,
        source=Source((), ""),
        count=None,
        columns=(),
        prompt=lambda doc: "",
        max_new_tokens=1,
        score=lambda doc, reply: Graded(None),
        aggregate=aggregate,
        headline=row.metric,
        linear=True,
        full_marks=row.full_marks,
    )
