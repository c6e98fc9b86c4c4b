"""`cli-ray data show PATH`: samples of a dataset as the model sees them, in the terminal or as a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import Field

from cli_ray.commands.dataset import DatasetArguments, FamilyName, data_config, encoder_of, run_config
from cli_ray.config import DataConfig
from cli_ray.config.load import arguments
from cli_ray.text import say

if TYPE_CHECKING:
    from cli_ray.data.encoder import Encoder
    from cli_ray.data.show.view import Unit, View

_LONGEST = 2**20
"""Bytes of a text that are shown without a model, which would say how many tokens they are."""


class DataShowArguments(DatasetArguments):
    """Shows samples as the model sees them: the rendered chat with what is supervised, the pictures, the fields that
    were read and those that were not, and of bad samples the reason."""

    family: FamilyName = "auto"
    """Family of that checkpoint; `auto` is what it says itself. Without a model, the family whose chat template and
    image sizes are shown, LLaVA-1.5 for `auto`."""
    samples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = Field(default=3, ge=1)
    """Samples of each source, the first ones."""
    seed: int | None = Field(default=None, ge=0)
    """Draws the samples of each source by this seed instead."""
    ids: Annotated[tuple[str, ...], tyro.conf.arg(name="id")] = ()
    """Shows the samples of these ids instead, as `data check` and the quarantine print them."""
    html: str = ""
    """Writes a page to this file instead, with the pictures in it."""


def main(words: list[str]) -> None:
    """Prints samples, or writes a page of them."""
    settings = arguments(DataShowArguments, words, "cli-ray data show")
    from cli_ray.model.build import quiet_loading

    quiet_loading()
    config = run_config(settings)
    datas = [data_config(settings)] if config is None else [config.data]
    if config is not None and config.validation.sources:
        datas.append(config.validation_data)
    encoder, unit, note = _stand_in(settings, datas[0]) if config is None else (encoder_of(config), "tokens", "")
    views = (view for data in datas for view in _views(settings, data, encoder, unit))
    if settings.html:
        _write_page(settings, views, note)
    else:
        _print(views, note)


def _stand_in(settings: DataShowArguments, data: DataConfig) -> "tuple[Encoder, Unit, str]":
    """An encoder without a model: of the family's own template and published image sizes."""
    from cli_ray.data.encoder import Encoder
    from cli_ray.model.build import published_processor
    from cli_ray.model.families import family_named

    name = "llava" if settings.family == "auto" else settings.family
    encoder = Encoder(published_processor(name), data.model_copy(update={"max_length": _LONGEST}))
    title = family_named(name).title
    note = f"No model was given: chat template and image sizes are those of {title}, and lengths are not checked."
    return encoder, "characters", note


def _views(settings: DataShowArguments, data: DataConfig, encoder: "Encoder", unit: "Unit") -> "Iterator[View]":
    from cli_ray.data.index import build_index
    from cli_ray.data.show.choice import places_of_id, places_of_source, samples_at
    from cli_ray.data.show.view import view

    index = build_index(data)
    if settings.ids:
        places = [place for id_ in settings.ids for place in places_of_id(index, id_)]
    else:
        numbers = range(len(index.sources))
        places = [
            place for number in numbers for place in places_of_source(index, number, settings.samples, settings.seed)
        ]
    for sample in samples_at(index, places, encoder.limits):
        yield view(sample, encoder, unit)


def _print(views: "Iterator[View]", note: str) -> None:
    from rich.console import Console

    from cli_ray.data.show.console import print_views

    if note:
        say(note)
    print_views(views, Console())


def _write_page(settings: DataShowArguments, views: "Iterator[View]", note: str) -> None:
    from cli_ray.data.sample import clean
    from cli_ray.data.show.page import page_of

    file = Path(settings.html)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page_of(views, clean(settings.path, 1000), [note] if note else []))
    say(f"wrote {file} ({file.stat().st_size / 1024:,.0f} KiB)")
