"""The output folder of an evaluation: submissions, and the table, which grows as benchmarks end.

The scorer writes each benchmark to it; commands print its table.
"""

import json
from collections.abc import Mapping, Sequence

from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Answer, Benchmark, ScoredItem
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.aggregate import Row
from cli_ray.evals.results.table import markdown, read_results, results
from cli_ray.evals.scoring.reasoning import without_reasoning
from cli_ray.evals.suite import BENCHMARKS
from cli_ray.storage.folder import Folder


class Output:
    """A local path or pyarrow URI that holds the evaluation of one model.

    Each benchmark's row is a file of its own in `rows/`; `results.json` and `table.md` gather them.

    Raises:
        UserError: at construction, when the folder holds the evaluation of another model, or with other prompts.
    """

    def __init__(self, config: EvaluationConfig, model_hash: str) -> None:
        self.folder = Folder(config.output)
        self.model_hash = model_hash
        self._model = config.model
        earlier = read_results(self.folder.uri) if self.folder.exists("results.json") else None
        if earlier and earlier.model_hash != model_hash:
            raise UserError(
                f"{self.folder.uri} holds the evaluation of {earlier.model} (hash {earlier.model_hash[:8]}), not of "
                f"{config.model} (hash {model_hash[:8]}): name another --output"
            )
        other = [row.title for row in earlier.rows if row.prompts not in (config.prompts, "own")] if earlier else []
        if other:
            raise UserError(
                f"{self.folder.uri} holds an evaluation with other prompts than those of {config.prompts} "
                f"({', '.join(other)}): name another --output"
            )
        self.folder.write("config.json", json.dumps(config.model_dump(mode="json"), indent=2))

    @staticmethod
    def settings(folder: str) -> tuple[EvaluationConfig, str]:
        """The config that a folder was last evaluated with, and the hash of the model.

        Raises:
            UserError: the folder holds no evaluation that has finished a benchmark.
        """
        model_hash = read_results(folder).model_hash
        return EvaluationConfig.model_validate_json(Folder(folder).read("config.json") or "{}"), model_hash

    @property
    def rows(self) -> list[Row]:
        """Of all benchmarks that were ever completed here, in the order of the list of benchmarks, own ones last."""
        places = {name: place for place, name in enumerate(BENCHMARKS)}
        there = [name.removesuffix(".json") for name in self.folder.names("rows") if name.endswith(".json")]
        there.sort(key=lambda name: (places.get(name, len(places)), name))
        return [row for row in map(self.row, there) if row]

    def row(self, name: str) -> Row | None:
        """The row of a benchmark, or None as long as there is none."""
        text = self.folder.read(f"rows/{name}.json")
        return None if text is None else Row.model_validate_json(text)

    def write(
        self, benchmark: Benchmark, row: Row, samples: Sequence[ScoredItem], records: Mapping[str, ReplyRecord]
    ) -> None:
        """Writes the submission file of a benchmark if it has one, and the table with its row.

        Args:
            samples: of the items that have a record.
            records: by sample id.
        """
        name = benchmark.name
        if benchmark.submission:
            answers = [
                Answer(sample.id, without_reasoning(records[sample.id].reply), sample.parsed, sample.facets)
                for sample in samples
            ]
            file = ("" if row.complete else "incomplete-") + benchmark.submission.filename
            self.folder.write_bytes(f"submissions/{name}/{file}", benchmark.submission.write(answers))
        self.folder.write(f"rows/{name}.json", row.model_dump_json(indent=2))
        gathered = results(self.rows, self._model, self.model_hash)
        self.folder.write("results.json", json.dumps(gathered, indent=2, allow_nan=False))
        self.folder.write("table.md", self.table())

    def table(self) -> str:
        """The table as Markdown."""
        return markdown(self.rows, self._model)
