"""`cli-ray compare A B`: what differs between two evaluations, ours or another tool's, item by item, with intervals."""

from typing import Annotated

import tyro
from pydantic import Field

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments


class CompareArguments(Section):
    """Compares two evaluations item by item: difference, 95 percent interval and p-value for each benchmark that
    both hold, and the items whose score flipped."""

    a: Annotated[Uri, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Output folder of `cli-ray eval`, or what another tool recorded, whose replies are scored by our rules: a file or
    folder of lmms-eval (`DATE_samples_TASK.jsonl`) or VLMEvalKit (`MODEL_DATASET.xlsx`, .tsv or .json). A path or a
    pyarrow URI. The baseline."""
    b: Annotated[Uri, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Another one; differences are B minus A."""
    data_root: Uri = ""
    """Folder of the documents that replies of other tools are scored against, as for `cli-ray eval`; where an output
    folder beside them says, or the Hugging Face hub, when empty."""
    output: Uri = ""
    """Folder for comparison.md, comparison.json and flips.jsonl; nothing is written when empty."""
    benchmark_file: Annotated[tuple[Uri, ...], tyro.conf.UseAppendAction] = ()
    """Files of own benchmarks in Python whose headline is no mean; the others need none."""
    flips: int = Field(default=5, ge=0)
    """Flips to print for each benchmark."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table."""


def main(words: list[str]) -> None:
    """Prints the comparison."""
    settings = arguments(CompareArguments, words, "cli-ray compare")

    from cli_ray.evals.results.compare import compare, flip_lines, markdown, write
    from cli_ray.evals.suite import brought
    from cli_ray.preflight import check_data_root, check_output

    if settings.output:
        check_output("--output", settings.output)
    check_data_root(settings.data_root)
    comparison = compare(settings.a, settings.b, settings.data_root, brought(settings.benchmark_file))
    if settings.output:
        write(comparison, settings.output)
    if settings.as_json:
        print(comparison.model_dump_json(indent=2, exclude={"flips"}))
        return
    print(markdown(comparison), end="")
    lines = flip_lines(comparison, settings.flips)
    if lines:
        print("\nflips, A -> B:\n" + "\n".join(lines))
