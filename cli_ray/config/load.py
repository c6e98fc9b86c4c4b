"""Reads a config from TOML and from command-line arguments, and explains what is wrong with it. Called by the verbs."""

import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro
from pydantic import ValidationError
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from cli_ray.config.base import Section
from cli_ray.config.run import RunConfig
from cli_ray.config.table import fields_of
from cli_ray.errors import UserError

Config = TypeVar("Config", bound=Section)
_TYPES = re.compile(r"function-before\[|tuple\[|(int|float|bool)$")
"""How pydantic names the types of a field in the path to a fault."""


class ConfigError(UserError):
    """A config that cannot be used; the message names file or argument, field and fix, and holds no rejected value."""


def load(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The run config in a TOML file, changed by overrides such as `--optim.llm.lr 1e-5`.

    Raises:
        ConfigError: the file is absent, no TOML, has unknown or wrong fields, or it or an override breaks a rule.
        SystemExit: an override is unknown or malformed; tyro prints why.
    """
    config = read_toml(RunConfig, path)
    return override(config, overrides, prog="cli-ray train CONFIG.toml") if overrides else config


def read_toml(section: type[Config], path: str) -> Config:
    """A config section from a TOML file.

    Raises:
        ConfigError: the file is absent, no TOML, has unknown or wrong fields, or breaks a rule.
    """
    try:
        values = tomllib.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:  # such as a folder
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return validated(section, values, path)


def validated(section: type[Config], values: object, where: str) -> Config:
    """`values` as a config section.

    Args:
        where: the values come from, such as the path of a file.

    Raises:
        ConfigError: a line for each fault.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, where, section)) from None


def override(config: RunConfig, words: Sequence[str], prog: str) -> RunConfig:
    """The config changed by command-line arguments; `--help` lists all fields."""
    return arguments(RunConfig, words, prog, default=config)


def arguments(section: type[Config], words: Sequence[str], prog: str, default: Config | None = None) -> Config:
    """A config section from command-line arguments.

    Args:
        words: after the verb.
        prog: the command as `--help` shows it.
        default: what the arguments change; the defaults of the section when not given.

    Raises:
        ConfigError: an argument breaks a rule; a line for each, such as `--limit: must be greater than 0`.
        SystemExit: `--help`, or an argument is unknown or malformed; tyro prints why.
    """
    registry = ConstructorRegistry()
    registry.struct_rule(_as_values)
    values: Any = tyro.cli(
        section,
        args=list(words),
        prog=prog,
        default=MISSING_NONPROP if default is None else default,
        config=(tyro.conf.AvoidSubcommands,),
        registry=registry,
    )
    try:
        return section.model_validate(values)
    except ValidationError as error:
        faults = _faults(error, section)
        lines = [": ".join(filter(None, [_argument(section, path), message])) for path, message in faults]
        raise ConfigError("\n".join(lines)) from None


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of a verb itself, and those that change the config, whose names have a dot."""
    own: list[str] = []
    overrides: list[str] = []
    part = own
    for word in words:
        if word.startswith("--"):
            part = overrides if "." in word.split("=")[0] else own
        part.append(word)
    return own, overrides


def explain(error: ValidationError, where: str, section: type[Section]) -> str:
    """A line per fault: `file: section.field: what is wrong`."""
    faults = _faults(error, section)
    return "\n".join(": ".join(filter(None, [where, ".".join(path), message])) for path, message in faults)


def _faults(error: ValidationError, section: type[Section]) -> list[tuple[list[str], str]]:
    """Path to the field and what is wrong with it, without its value, which may be a secret."""
    faults: dict[tuple[str, ...], str] = {}
    for fault in error.errors(include_url=False, include_input=False):
        message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        # Where a field takes one of several types, the path names each that was tried.
        path = tuple(str(part) for part in fault["loc"] if not _TYPES.match(str(part)))
        if fault["type"] == "extra_forbidden":
            message = f"unknown field{_guess(path, section)}; {section.lists_fields} lists them all"
        faults.setdefault(path, message)
    return [(list(path), message) for path, message in faults.items()]


def _guess(path: tuple[str, ...], section: type[Section]) -> str:
    """The known field that a path may mean: one beside it that reads alike, or one of its name elsewhere."""
    known = fields_of(section)
    dotted = ".".join(re.sub(r"^\d+$", "[]", part) for part in path).replace(".[]", "[]")
    parent, _, name = dotted.rpartition(".")
    beside = {field.rpartition(".")[2]: field for field in known if field.rpartition(".")[0] == parent}
    beside |= {field.removeprefix(f"{parent}.").split(".")[0]: field for field in known if not parent and "." in field}
    alike = get_close_matches(name, beside, n=1)
    if alike:
        return f", perhaps {alike[0]!r} is meant"
    elsewhere = [field for field in known if field.rpartition(".")[2] == name]
    return f", perhaps {elsewhere[0]!r} is meant" if len(elsewhere) == 1 else ""


def _argument(section: type[Section], path: list[str]) -> str:
    """How the command line calls a field: `--judge.base-url`, or `OUTPUT` when it has no name there."""
    if not path:
        return ""
    field = section.model_fields.get(path[0])
    positional = field is not None and tyro.conf.Positional in field.metadata
    return path[0].upper() if positional else f"--{'.'.join(path).replace('_', '-')}"


def _as_values(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Lets tyro leave a section as a dict, so that all of it is validated at once and faults have their full path."""
    section = info.type
    if not (isinstance(section, type) and issubclass(section, Section)):
        return None
    given = dict(info.default) if isinstance(info.default, Section) else {}
    hints = get_type_hints(section, include_extras=True)
    fields = [
        StructFieldSpec(
            name=name,
            type=hints[name],
            default=given.get(name, MISSING_NONPROP if field.is_required() else field.default),
            helptext=field.description,
        )
        for name, field in section.model_fields.items()
    ]

    def values(**named: Any) -> dict[str, Any]:
        return named

    values.__doc__ = section.__doc__
    return StructConstructorSpec(instantiate=values, fields=tuple(fields))
