"""`cli-ray compare A B`: what differs between two evaluations, ours or another tool's, item by item, with intervals."""

import json
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import Field

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments

if TYPE_CHECKING:
    from cli_ray.evals.results.compare import Comparison


class CompareArguments(Section):
    """Compares evaluations with a baseline item by item: difference, 95 percent interval and p-value for each benchmark
    that both hold, and the items whose score flipped."""

    a: Annotated[Uri, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Output folder of `cli-ray eval`, or what another tool recorded, whose replies are scored by our rules: a file or
    folder of lmms-eval (`DATE_samples_TASK.jsonl`) or VLMEvalKit (`MODEL_DATASET.xlsx`, .tsv or .json). A path or a
    pyarrow URI. The baseline."""
    b: Annotated[tuple[Uri, ...], tyro.conf.Positional, tyro.conf.arg(metavar="B [B ...]")] = Field(min_length=1)
    """Another one; differences are B minus A. Several are each compared with A, and p-values corrected for all."""
    data_root: Uri = ""
    """Folder of the documents that replies of other tools are scored against, as for `cli-ray eval`; where an output
    folder beside them says, or the Hugging Face hub, when empty."""
    output: Uri = ""
    """Folder for comparison.md, comparison.json and flips.jsonl, in `1`, `2` ... of several B; nothing is written when
    empty."""
    benchmark_file: Annotated[tuple[Uri, ...], tyro.conf.UseAppendAction] = ()
    """Files of own benchmarks in Python whose headline is no mean; the others need none."""
    flips: int = Field(default=5, ge=0)
    """Flips to print for each benchmark."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table, a list of several B."""


def main(words: list[str]) -> None:
    """Prints the comparisons."""
    settings = arguments(CompareArguments, words, "cli-ray compare")

    from cli_ray.evals.results.compare import compare, corrected
    from cli_ray.evals.suite import brought
    from cli_ray.preflight import check_data_root, check_output

    if settings.output:
        check_output("--output", settings.output)
    check_data_root(settings.data_root)
    own = brought(settings.benchmark_file)
    comparisons = corrected([compare(settings.a, b, data_root=settings.data_root, own=own) for b in settings.b])
    if settings.output:
        _write(comparisons, settings.output)
    if settings.as_json:
        found = [comparison.model_dump(mode="json", exclude={"flips"}) for comparison in comparisons]
        print(json.dumps(found if len(found) > 1 else found[0], indent=2, ensure_ascii=False))
    else:
        print("\n".join(_shown(comparison, settings.flips) for comparison in comparisons), end="")


def _write(comparisons: "list[Comparison]", folder: str) -> None:
    from cli_ray.evals.results.compare import write

    for number, comparison in enumerate(comparisons, start=1):
        write(comparison, f"{folder.rstrip('/')}/{number}" if len(comparisons) > 1 else folder)


def _shown(comparison: "Comparison", flips: int) -> str:
    from cli_ray.evals.results.compare import flip_lines, markdown

    lines = flip_lines(comparison, flips)
    return markdown(comparison) + ("\nflips, A -> B:\n" + "\n".join(lines) + "\n" if lines else "")
