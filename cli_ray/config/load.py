"""A config from TOML, with command-line overrides on top."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import tyro
from pydantic import ValidationError

from cli_ray.config.base import Section
from cli_ray.config.run import RunConfig
from cli_ray.errors import UserError

Config = TypeVar("Config", bound=Section)


class ConfigError(UserError):
    """A config that cannot be used; the message names file, field and fix."""


def load(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The run config in a TOML file, changed by overrides such as `--optim.llm.lr 1e-5`.

    Raises:
        ConfigError: the file is absent, no TOML, has unknown or wrong fields, or breaks a rule.
        SystemExit: an override is unknown, malformed or breaks a rule; tyro prints why.
    """
    try:
        values = tomllib.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    config = validated(RunConfig, values, path)
    return override(config, overrides, prog="cli-ray train CONFIG.toml") if overrides else config


def validated(section: type[Config], values: object, where: str) -> Config:
    """`values` as a config section; raises ConfigError with every fault found."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, where)) from None


def override(config: RunConfig, arguments: Sequence[str], prog: str) -> RunConfig:
    """The config changed by command-line arguments; `--help` lists all fields."""
    return tyro.cli(RunConfig, default=config, args=list(arguments), prog=prog, config=(tyro.conf.AvoidSubcommands,))


def explain(error: ValidationError, where: str) -> str:
    """A line per fault: `file: section.field: what is wrong`."""
    lines = []
    for fault in error.errors(include_url=False):
        field = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "unknown field; `cli-ray train --help` lists them all"
        lines.append(f"{where}: {field + ': ' if field else ''}{message}")
    return "\n".join(lines)
