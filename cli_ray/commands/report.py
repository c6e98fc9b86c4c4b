"""`cli-ray report RUN|SWEEP|RESULTS ...`: what came out, as one HTML file that opens from disk with no network."""

from typing import Annotated

import tyro
from pydantic import Field

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments


class ReportArguments(Section):
    """Writes one HTML file on runs, sweeps and results, in any mixture: a verdict, curves, gates, benchmarks with the
    samples that flipped, trials, faults and configs. Several runs stand side by side; several results are compared with
    the first. Works on what is there, also while a run goes on."""

    folders: Annotated[tuple[Uri, ...], tyro.conf.Positional] = Field(min_length=1)
    """Run folders, folders of sweeps and outputs of `cli-ray eval`: paths or pyarrow URIs."""
    output: Uri = ""
    """The file to write; report.html in the first folder when empty, or here where that is in an object store."""
    benchmark_file: Annotated[tuple[Uri, ...], tyro.conf.UseAppendAction] = ()
    """Files of own benchmarks in Python whose headline is no mean; the others need none."""
    figures: Uri = ""
    """Folder for the figures as SVG and the numbers behind them as Parquet; none are written when empty."""


def main(words: list[str]) -> None:
    """Writes the report and says where."""
    settings = arguments(ReportArguments, words, "cli-ray report")

    from cli_ray.evals.suite import brought
    from cli_ray.report.document import document
    from cli_ray.report.files import write_figures, write_page

    report = document(settings.folders, brought(settings.benchmark_file))
    place, size = write_page(report, settings.output, settings.folders[0])
    print(f"{place} ({size / 1e6:.2f} MB)")
    if settings.figures:
        print(f"{write_figures(report, settings.figures):,} figures in {settings.figures}")
