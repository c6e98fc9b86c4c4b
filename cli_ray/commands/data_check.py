"""`cli-ray data check PATH`: what a dataset holds and what of it would be quarantined, before training on it."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from cli_ray.config import DataConfig, InjectionConfig, ModelConfig, RunConfig, SourceConfig
from cli_ray.config.base import Section, Uri
from cli_ray.config.data import Format
from cli_ray.config.load import arguments, load, validated
from cli_ray.config.train import OptimConfig, PartConfig
from cli_ray.errors import UserError
from cli_ray.registry import FAMILIES

if TYPE_CHECKING:
    from cli_ray.data.audit import SourceAudit
    from cli_ray.data.encoder import Encoder
    from cli_ray.data.index import Index

_DEFAULTS = DataConfig(sources=(SourceConfig(path="unused"),))
if TYPE_CHECKING:
    _FamilyName = str
else:
    # A type checker wants the names of a Literal written out.
    _FamilyName = Literal[("auto", *FAMILIES)]
_OWN = {"path", "limit", "as_json"}
"""Arguments that no run config has."""


class DataCheckArguments(Section):
    """Counts, measures and audits a dataset. It is read the way training reads it, sample by sample, on CPU; ends with
    exit code 1 when training would stop at it."""

    path: Annotated[Uri, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A file, folder, glob or pyarrow URI of shards, or a run's .toml, which is checked as its run would."""
    format: Format = "auto"
    """Format of the files; `auto` looks at their names."""
    image_folder: Uri = ""
    """Folder that image paths in JSON are relative to; the file's own folder when empty."""
    image_roots: tuple[Uri, ...] = ()
    """Further folders that symbolic links below the image folder may lead into."""
    llava_preprocessing: bool = False
    """Read conversations as LLaVA's own training code does, see `data.sources.llava_preprocessing`."""
    model: str = ""
    """Hub id or folder of a LLaVA checkpoint (`tiny` for the made one): template, vocabulary and lengths are then
    checked as a run of it would, in tokens, image tokens included. Without it lengths are characters."""
    family: _FamilyName = "auto"
    """Family of that checkpoint; `auto` is what it says itself."""
    max_length: int | None = Field(default=None, ge=16)
    """Longest sample in tokens, see `data.max_length`; only checked with a model."""
    max_tiles: int | None = Field(default=None, ge=1)
    """Tiles of an image at most, see `data.max_tiles`; needs a model."""
    max_image_tokens: int | None = Field(default=None, ge=1)
    """Tokens of an image at most, see `data.max_image_tokens`; needs a model."""
    shrink_images: bool = True
    """Whether images are shrunk to the room that their text leaves, see `data.shrink_images`."""
    max_image_pixels: int = Field(default=_DEFAULTS.max_image_pixels, ge=1)
    """Images with more pixels would be quarantined."""
    max_bad_share: float = Field(default=_DEFAULTS.max_bad_share, ge=0, le=1)
    """Share of the samples that may be bad."""
    max_image_MiB: float = Field(default=_DEFAULTS.max_image_MiB, gt=0)
    """Encoded images above this size would be quarantined."""
    limit: int | None = Field(default=None, ge=1)
    """Look at this many samples of each source only, the first ones; the rest is taken to be like them."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print the report as JSON."""


def main(words: list[str]) -> None:
    """Audits a dataset and prints the report; exits with 1 when training would stop at it."""
    settings = arguments(DataCheckArguments, words, "cli-ray data check")
    config = _config(settings)
    data = _data(settings) if config is None else config.data

    from cli_ray.data.audit import judge
    from cli_ray.data.audit_report import print_report
    from cli_ray.data.index import build_index
    from cli_ray.data.quarantine import refuse_lost

    encoder = None if config is None else _encoder(config)
    audits = _audit(build_index(data), data, encoder, settings.limit)
    verdict = judge(list(audits.values()), data)
    if config is not None and config.validation.sources:
        index = build_index(config.validation_data)
        refuse_lost(index, config.validation_data)
        held_out = _audit(index, config.validation_data, encoder, settings.limit)
        audits |= {f"validation: {label}": result for label, result in held_out.items()}
    if settings.as_json:
        print(json.dumps({label: result.to_dict() for label, result in audits.items()}, indent=2))
    else:
        print_report(audits, verdict, data.max_bad_share, "characters" if encoder is None else "tokens")
    if verdict.stops:
        sys.exit(1)


def _config(settings: DataCheckArguments) -> RunConfig | None:
    """The run that the data are checked for; None without a model.

    Raises:
        UserError: a .toml was given, and flags for what it decides.
    """
    if settings.path.endswith(".toml"):
        given = sorted(name for name in settings.model_fields_set - _OWN if getattr(settings, name) != _default(name))
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(f"{settings.path} says what is read and how: change it there instead of giving {flags}")
        return load(settings.path)
    if not settings.model:
        return None
    model = _described(settings)
    injection = _injection_of(model)
    trained = OptimConfig(projector=PartConfig(lr=1e-3))  # no run config is without; nothing here depends on it
    return RunConfig(name="check", model=model, injection=injection, data=_data(settings), optim=trained)


def _default(name: str) -> object:
    return DataCheckArguments.model_fields[name].default


def _data(settings: DataCheckArguments) -> DataConfig:
    of_source = ("path", "format", "image_folder", "image_roots", "llava_preprocessing")
    source = SourceConfig(**{name: getattr(settings, name) for name in of_source})
    names = (
        "max_length", "max_tiles", "max_image_tokens", "shrink_images", "max_image_pixels", "max_image_MiB",
        "max_bad_share",
    )  # fmt: skip
    values = {"sources": (source,), **{name: getattr(settings, name) for name in names}}
    return validated(DataConfig, values, "cli-ray data check")


def _described(settings: DataCheckArguments) -> ModelConfig:
    """The checkpoint, with the family that its own config says."""
    from cli_ray.model.build import explained
    from cli_ray.model.checkpoint import checkpoint_values, stored_family

    model = ModelConfig(checkpoint=settings.model)
    if settings.family != "auto":
        return model.model_copy(update={"family": settings.family})
    if settings.model == "tiny":
        return model
    with explained(model):
        family = stored_family(checkpoint_values(model)) or model.family
    return model.model_copy(update={"family": family})


def _injection_of(model: ModelConfig) -> InjectionConfig:
    """The injection of a checkpoint, which a run of it must name."""
    from cli_ray.model.build import explained, plain_config
    from cli_ray.model.configuration import InjectionSection

    with explained(model):
        config = plain_config(model)
    return config.injection if isinstance(config, InjectionSection) else InjectionConfig(kind="none")


def _encoder(config: RunConfig) -> "Encoder":
    """The encoder of a run, after the checks that a run begins with."""
    from cli_ray.train.model_check import check_model

    _, encoder = check_model(config)
    return encoder


def _audit(index: "Index", data: DataConfig, encoder: "Encoder | None", limit: int | None) -> dict[str, "SourceAudit"]:
    """What each source holds, by label. Shows progress on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    from cli_ray.data.audit import audit
    from cli_ray.data.images import Limits

    audits = {}
    with Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as progress:
        steps = audit(index, Limits.of(data), encoder, limit)
        for label, result in progress.track(steps, total=len(index), description="reading"):
            audits[label] = result
    return audits
