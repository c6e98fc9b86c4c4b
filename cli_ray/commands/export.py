"""`cli-ray export RUN --output DIR`: a checkpoint as a Hugging Face folder."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments
from cli_ray.text import duration
from cli_ray.train.checkpoint.exported import shown_export


class ExportArguments(Section):
    """Writes a run's checkpoint as a Hugging Face folder that AutoModelForImageTextToText loads
    after `import cli_ray`."""

    run: Annotated[Uri, tyro.conf.Positional]
    """The run folder: a path or a pyarrow URI."""
    output: Path
    """Folder to write; must be absent or empty."""
    step: int | None = None
    """Step of the checkpoint; the newest when not given."""
    best: bool = False
    """Take the checkpoint of lowest validation loss instead of the newest."""
    keep_lora: bool = False
    """Write LoRA adapters apart, in `adapter/`, instead of merging them into the weights."""


def main(words: list[str]) -> None:
    """Exports a checkpoint and prints where it lies."""
    settings = arguments(ExportArguments, words, "cli-ray export")

    from cli_ray.preflight import check_output

    check_output("--output", str(settings.output))

    begun = time.monotonic()
    name = shown_export(settings.run, settings.output, settings.step, best=settings.best, keep_lora=settings.keep_lora)
    print(f"{settings.run}/{name} is exported to {settings.output}, which took {duration(time.monotonic() - begun)}")
