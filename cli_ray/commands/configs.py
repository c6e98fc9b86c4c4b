"""`cli-ray configs [NAME] [PATH]`: the configs and sweeps of `jobs/`, which the wheel brings as `cli_ray/recipes`."""

import os
import shutil
import tomllib
from pathlib import Path
from typing import Annotated

import tyro

from cli_ray.config.base import Section
from cli_ray.config.load import arguments
from cli_ray.errors import UserError
from cli_ray.text import columns

RECIPES = Path(__file__).parents[1] / "recipes"


class ConfigsArguments(Section):
    """Lists the configs and sweeps that come along, or copies one of them, to be changed and run."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = ""
    """The one to copy; all are listed when empty."""
    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[PATH]")] = Path()
    """Where the copy goes: a file that is not there yet, or a folder, such as the working directory when not given."""


def main(words: list[str]) -> None:
    """Prints the list, or copies a file and prints what to do next."""
    settings = arguments(ConfigsArguments, words, "cli-ray configs")
    if not settings.name:
        print(listing())
        return
    recipe = recipes().get(settings.name)
    if recipe is None:
        raise UserError(f"no config or sweep is called {settings.name!r}; `cli-ray configs` lists them")
    target = settings.path / recipe.name if settings.path.is_dir() else settings.path
    copy(recipe, target)
    print(f"{settings.name} is copied to {target}; {next_step(recipe, target)}")


def recipes() -> dict[str, Path]:
    """The files by name, configs before sweeps."""
    return {path.stem: path for kind in ("configs", "sweeps") for path in sorted((RECIPES / kind).glob("*.toml"))}


def listing() -> str:
    """A line for each: its name, and the first line of its comment."""
    kinds = {"configs": "configs, for cli-ray train", "sweeps": "sweeps, for cli-ray tune"}
    lines = []
    for kind, head in kinds.items():
        of_kind = [(path.stem, _purpose(path)) for path in recipes().values() if path.parent.name == kind]
        lines += [head, *columns(of_kind), ""]
    return "\n".join([*lines, "cli-ray configs NAME [PATH] copies one."])


def copy(recipe: Path, target: Path) -> None:
    """Copies a file to a path where none is.

    Raises:
        UserError: something is there, or the path cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with recipe.open("rb") as source, target.open("xb") as file:
            shutil.copyfileobj(source, file)
    except FileExistsError:
        raise UserError(f"{target} is there already; name another path") from None
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}; name another path") from error


def next_step(recipe: Path, target: Path) -> str:
    """What to do with a copy: a sweep may lack its base beside it."""
    base = tomllib.loads(recipe.read_text()).get("base")
    if base is None:
        return f"next: cli-ray train {target}"
    beside = Path(os.path.normpath(target.parent / base))
    if beside.exists():
        return f"next: cli-ray tune {target}"
    return (
        f"its base {base} is not there: cli-ray configs {Path(base).stem} {beside}, or put a run of yours into `base`"
    )


def _purpose(recipe: Path) -> str:
    return recipe.read_text().split("\n")[0].removeprefix("# ").rstrip(".")
