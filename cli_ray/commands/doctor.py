"""`cli-ray doctor [CONFIG.toml]`: what of a cluster would keep a run from working, each finding with its fix."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import Field

from cli_ray.config import RunConfig
from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments, load
from cli_ray.config.run import absolute, with_absolute_paths
from cli_ray.errors import UserError
from cli_ray.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from cli_ray.doctor.finding import Finding

STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


class DoctorArguments(Section):
    """Looks at the Ray cluster that runs, on every node of it, or at this machine alone; starts no cluster, downloads
    no weights and takes no GPU."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[CONFIG.toml]")] = ""
    """Config of the run to come, whose needs are compared with what there is."""
    runs_dir: Uri = ""
    """Folder or pyarrow URI of run folders, written and read on every node; that of the config when empty."""
    data_root: Uri = ""
    """Folder or pyarrow URI of benchmarks, looked at as `cli-ray eval` would; not looked at when empty."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds in which the nodes must answer each question."""


def main(words: list[str]) -> None:
    """Prints the findings, with the fix of each fault.

    Raises:
        UserError: one of them is an error.
    """
    settings = arguments(DoctorArguments, words, "cli-ray doctor")
    config = load(settings.config) if settings.config else None

    from rich.console import Console

    console = Console(soft_wrap=True)
    levels = []
    for finding in findings(config, settings):
        show(console, finding)
        levels.append(finding.level)
    errors, warnings = levels.count("error"), levels.count("warning")
    if errors:
        raise UserError(
            f"{counted(errors, 'error')} and {counted(warnings, 'warning')}: a run would fail, each has its fix above"
        )
    print(f"no error, {counted(warnings, 'warning')}")


def findings(config: RunConfig | None, settings: DoctorArguments) -> "Iterator[Finding]":
    """All findings, each as soon as its check ends."""
    from cli_ray.doctor.examination import examine

    if config:
        config = with_absolute_paths(config.model_copy(update={"runs_dir": settings.runs_dir or config.runs_dir}))
    yield from examine(config, config.runs_dir if config else absolute(settings.runs_dir), settings.timeout_s)
    if settings.data_root:
        yield from benchmarks(absolute(settings.data_root))


def benchmarks(data_root: str) -> "Iterator[Finding]":
    """Which benchmarks this machine finds the data of."""
    from cli_ray.doctor.finding import Finding
    from cli_ray.evals.items.survey import survey
    from cli_ray.evals.suite import chosen

    results = survey(chosen("paper18"), data_root, miniature=False)
    there = [result for result in results if result.state == "there"]
    for result in results:
        if result.state != "there":
            yield Finding("benchmarks", "warning", result.detail, result.fix or "or leave it out with --benchmarks")
    yield Finding("benchmarks", "ok" if there else "error", f"{len(there)} of {len(results)} are in {data_root}")


def show(console: "Console", finding: "Finding") -> None:
    """Prints a finding, and its fix below it."""
    from rich.text import Text

    text = Text(f"{finding.level:<8} ", style=STYLES[finding.level])
    text.append(f"{finding.check:<11} {finding.what}", style="default")
    console.print(text)
    if finding.fix:
        console.print(Text(f"{'':<21}fix: {finding.fix}", style="default"))
