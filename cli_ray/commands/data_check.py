"""`cli-ray data check PATH`: what a dataset holds and what of it would be quarantined, before training on it."""

import json
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from cli_ray.config import DataConfig, ModelConfig, SourceConfig
from cli_ray.config.base import Section
from cli_ray.config.data import Format
from cli_ray.config.load import arguments, load
from cli_ray.config.uri import Uri

if TYPE_CHECKING:
    from rich.console import Console

    from cli_ray.data.audit import Distribution, SourceAudit

_DEFAULTS = DataConfig(sources=(SourceConfig(path="unused"),))


class DataCheckArguments(Section):
    """Counts, measures and audits a dataset. It is read the way training reads it, sample by sample, on CPU."""

    path: Annotated[Uri, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A file, folder, glob or pyarrow URI of shards, or a run's .toml, whose data and model sections are taken."""
    format: Format = "auto"
    """Format of the files; `auto` looks at their names."""
    image_folder: Uri = ""
    """Folder that image paths in JSON are relative to; the file's own folder when empty."""
    image_roots: tuple[Uri, ...] = ()
    """Further folders that symbolic links below the image folder may lead into."""
    llava_preprocessing: bool = False
    """Read conversations as LLaVA's own training code does, see `data.sources.llava_preprocessing`."""
    model: str = ""
    """Hub id or folder of a LLaVA checkpoint (`tiny` for the made one): lengths are then tokens, image tokens
    included, and over-long samples are found. Without it they are characters."""
    family: Literal["llava", "llava_onevision"] = "llava"
    """Family of that checkpoint."""
    max_length: int = Field(default=_DEFAULTS.max_length, ge=16)
    """Longest sample in tokens; only checked with a model."""
    max_image_pixels: int = Field(default=_DEFAULTS.max_image_pixels, ge=1)
    """Images with more pixels would be quarantined."""
    max_image_MiB: float = Field(default=_DEFAULTS.max_image_MiB, gt=0)
    """Encoded images above this size would be quarantined."""
    limit: int | None = Field(default=None, ge=1)
    """Look at this many samples of each source only, the first ones."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print the report as JSON."""


def main(words: list[str]) -> None:
    """Audits a dataset and prints the report."""
    settings = arguments(DataCheckArguments, words, "cli-ray data check")
    data, model = _sections(settings)

    from rich.console import Console

    found = _audit(data, model, settings.limit)
    if settings.as_json:
        print(json.dumps({label: result.to_dict() for label, result in found.items()}, indent=2))
        return
    console = Console(soft_wrap=True)
    unit = "tokens" if model else "characters"
    for label, result in found.items():
        _print_source(console, label, result, unit)
    _print_verdict(console, list(found.values()), data.max_bad_share)


def _sections(settings: DataCheckArguments) -> tuple[DataConfig, ModelConfig | None]:
    """The data to read and the model to read it for."""
    if settings.path.endswith(".toml"):
        config = load(settings.path)
        return config.data, config.model
    of_source = ("path", "format", "image_folder", "image_roots", "llava_preprocessing")
    source = SourceConfig(**{name: getattr(settings, name) for name in of_source})
    names = ("max_length", "max_image_pixels", "max_image_MiB")
    data = DataConfig(sources=(source,), **{name: getattr(settings, name) for name in names})
    return data, ModelConfig(family=settings.family, checkpoint=settings.model) if settings.model else None


def _audit(data: DataConfig, model: ModelConfig | None, limit: int | None) -> dict[str, "SourceAudit"]:
    """What each source holds, by label. Shows progress on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    from cli_ray.data.audit import audit
    from cli_ray.data.images import Limits
    from cli_ray.data.index import build_index

    encoder = None
    if model:
        from cli_ray.data.conversation import Encoder
        from cli_ray.model.build import load_processor

        encoder = Encoder(load_processor(model), data)
    index = build_index(data)
    found = {}
    with Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as progress:
        steps = audit(index, Limits.of(data), encoder, limit)
        for label, result in progress.track(steps, total=len(index), description="reading"):
            found[label] = result
    return found


def _print_source(console: "Console", label: str, result: "SourceAudit", unit: str) -> None:
    from rich.markup import escape

    console.print(f"\n[bold]{escape(label)}[/bold]: {result.format}, {result.shards} shards, {result.MiB:,.1f} MiB")
    good = result.samples - result.reasons.total()
    console.print(f"  {result.samples:,} samples: {good:,} good, {result.reasons.total():,} would be quarantined")
    supervised = f", {result.supervised:,} supervised tokens" if unit == "tokens" else ""
    console.print(
        f"  {result.with_images:,} with images ({result.images:,}), {good - result.with_images:,} text only, "
        f"{result.turns:,} turns of the assistant{supervised}"
    )
    if result.images:
        console.print(f"  width   {_spread(result.width)} pixels")
        console.print(f"  height  {_spread(result.height)} pixels")
    console.print(f"  length  {_spread(result.length)} {unit}")
    _print_histogram(console, result.length)
    for reason, count in result.reasons.most_common():
        console.print(f"  [red]{reason}[/red] {count:,}")
        for sample in result.examples[reason]:
            console.print(f"    {sample.id} ({sample.where}): {sample.detail}", markup=False, highlight=False)
    for line in result.notes():
        console.print(f"  {line}", markup=False, highlight=False)


def _spread(numbers: "Distribution") -> str:
    quantiles = [numbers.quantile(share) for share in (0.05, 0.5, 0.95)]
    low, middle, high = (f"{value:,}" if value is not None else "-" for value in quantiles)
    return f"min {numbers.smallest or 0:,}, 5% {low}, median {middle}, 95% {high}, max {numbers.largest or 0:,}"


def _print_histogram(console: "Console", numbers: "Distribution") -> None:
    octaves = numbers.octaves()
    most = max((count for _, _, count in octaves), default=0)
    for low, high, count in octaves:
        bar = "█" * round(40 * count / most) or ("▏" if count else "")
        console.print(f"  {low:>9,} - {high - 1:<9,} {bar} {count:,}", highlight=False)


def _print_verdict(console: "Console", results: list["SourceAudit"], max_bad_share: float) -> None:
    bad, seen = sum(result.reasons.total() for result in results), sum(result.samples for result in results)
    share = bad / seen if seen else 0.0
    verdict = "above" if share > max_bad_share else "within"
    console.print(
        f"\n{bad:,} of {seen:,} samples ({share:.2%}) would be quarantined, {verdict} data.max_bad_share = "
        f"{max_bad_share:.2%}" + (": training would stop" if verdict == "above" else "")
    )
