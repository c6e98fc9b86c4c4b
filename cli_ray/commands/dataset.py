"""A dataset as `cli-ray data check` and `cli-ray data show` are given it: by a path and flags, or by a run's .toml."""

from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from cli_ray.config import DataConfig, InjectionConfig, ModelConfig, RunConfig, SourceConfig
from cli_ray.config.base import Section, Uri
from cli_ray.config.data import Format
from cli_ray.config.load import load, validated
from cli_ray.config.train import OptimConfig, PartConfig
from cli_ray.errors import UserError
from cli_ray.registry import FAMILIES

if TYPE_CHECKING:
    from cli_ray.data.encoder import Encoder

DEFAULTS = DataConfig(sources=(SourceConfig(path="unused"),))
if TYPE_CHECKING:
    FamilyName = str
else:
    # A type checker wants the names of a Literal written out.
    FamilyName = Literal[("auto", *FAMILIES)]


class DatasetArguments(Section):
    """Where the samples lie and what they are read for."""

    path: Annotated[Uri, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A file, folder, glob or pyarrow URI of shards, or a run's .toml, whose data are read as its run would."""
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
    those of a run of it, in tokens, image tokens included. Without it lengths are characters."""
    family: FamilyName = "auto"
    """Family of that checkpoint; `auto` is what it says itself."""
    max_length: int | None = Field(default=None, ge=16)
    """Longest sample in tokens, see `data.max_length`; only checked with a model."""
    max_tiles: int | None = Field(default=None, ge=1)
    """Tiles of an image at most, see `data.max_tiles`; needs a model."""
    max_image_tokens: int | None = Field(default=None, ge=1)
    """Tokens of an image at most, see `data.max_image_tokens`; needs a model."""
    shrink_images: bool = True
    """Whether images are shrunk to the room that their text leaves, see `data.shrink_images`."""
    max_image_pixels: int = Field(default=DEFAULTS.max_image_pixels, ge=1)
    """Images with more pixels would be quarantined."""
    max_image_MiB: float = Field(default=DEFAULTS.max_image_MiB, gt=0)
    """Encoded images above this size would be quarantined."""


def run_config(settings: DatasetArguments) -> RunConfig | None:
    """The run that the data are read for; None without a model.

    Raises:
        UserError: a .toml was given, and flags for what it decides.
    """
    if settings.path.endswith(".toml"):
        decided = (DatasetArguments.model_fields.keys() | DataConfig.model_fields.keys()) - {"path"}
        given = sorted(name for name in settings.model_fields_set & decided if _is_changed(settings, name))
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(f"{settings.path} says what is read and how: change it there instead of giving {flags}")
        return load(settings.path)
    if not settings.model:
        return None
    model = _described(settings)
    injection = _injection_of(model)
    trained = OptimConfig(projector=PartConfig(lr=1e-3))  # no run config is without; nothing here depends on it
    return RunConfig(name="check", model=model, injection=injection, data=data_config(settings), optim=trained)


def data_config(settings: DatasetArguments) -> DataConfig:
    """The section `data` that the flags come to."""
    of_source = ("path", "format", "image_folder", "image_roots", "llava_preprocessing")
    source = SourceConfig(**{name: getattr(settings, name) for name in of_source})
    names = type(settings).model_fields.keys() & DataConfig.model_fields.keys()
    values = {"sources": (source,), **{name: getattr(settings, name) for name in names}}
    return validated(DataConfig, values, "cli-ray data")


def encoder_of(config: RunConfig) -> "Encoder":
    """The encoder of a run, after the checks that a run begins with."""
    from cli_ray.train.model_check import check_model

    _, encoder = check_model(config)
    return encoder


def _is_changed(settings: DatasetArguments, name: str) -> bool:
    return bool(getattr(settings, name) != type(settings).model_fields[name].default)


def _described(settings: DatasetArguments) -> ModelConfig:
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
