"""The fields of a config for people, generated from the schema: help of a command, Markdown table, dotted names.

Called by the verbs that take a config, by the loader for its hints, and by the generator of the documentation.
"""

import types
import typing
from textwrap import wrap
from typing import Any

from pydantic_core import PydanticUndefined

from cli_ray.config.base import Section
from cli_ray.config.run import RunConfig

WIDTH = 100
"""Characters of a line of help."""


def table(section: type[Section] = RunConfig, prefix: str = "") -> str:
    """A Markdown table of all fields with default and meaning."""
    rows = "\n".join(f"| `{name}` | {default} | {meaning} |" for name, default, meaning, _ in _rows(section, prefix))
    return f"| field | default | meaning |\n| --- | --- | --- |\n{rows}"


def help_text(section: type[Section], usage: str) -> str:
    """All fields as the command line calls them, with default and meaning.

    Args:
        usage: the command, such as `cli-ray train CONFIG.toml`.
    """
    lines = [f"usage: {usage} [--section.field value ...]", "", *wrap(section.__doc__ or "", WIDTH), ""]
    lines.append("The fields of the file, each with its default; `.0.` is the first of several that the file names.")
    lines += ["A BOOL takes no value: `--section.field` sets it and `--section.no-field` unsets it.", ""]
    for name, default, meaning, kind in _rows(section, ""):
        option = name.replace("[]", ".0").replace("_", "-")
        lines.append(f"  --{option} {kind}  ({default.strip('`') or 'none'})")
        lines += wrap(meaning.replace("\\|", "|"), WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def fields_of(section: type[Section]) -> list[str]:
    """The dotted names of all fields, `[]` behind one that takes several."""
    return [row[0] for row in _rows(section, "")]


def _rows(section: type[Section], prefix: str, default: Section | None = None) -> list[tuple[str, str, str, str]]:
    """Field, default, meaning and kind of value; `default` is what the field that holds the section defaults to."""
    rows = []
    for name, field in section.model_fields.items():
        value = field.default if default is None else getattr(default, name)
        below, many = _section_of(field.annotation)
        if below is None:
            meaning = " ".join((field.description or "").split())
            rows.append((prefix + name, _shown(value), meaning.replace("|", "\\|"), _kind(field.annotation)))
        else:
            given = value if isinstance(value, Section) else None
            rows += _rows(below, f"{prefix}{name}{'[]' if many else ''}.", given)
    return rows


def _kind(annotation: Any) -> str:
    """What a field takes, as help shows it: `INT`, `{sdpa,eager}`, `INT|None`, `[STR ...]`."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return f"{{{','.join(map(str, arguments))}}}"
    if origin in (types.UnionType, typing.Union):
        return "|".join(map(_kind, arguments))
    if origin is tuple:
        return f"[{_kind(arguments[0])} ...]" if arguments[-1] is ... else f"[{' '.join(map(_kind, arguments))}]"
    if origin is typing.Annotated:
        return _kind(arguments[0])
    return "None" if annotation is types.NoneType else getattr(origin or annotation, "__name__", "").upper()


def _section_of(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section behind an annotation, and whether there are several of it."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (tuple, types.UnionType) and arguments:
        return _section_of(arguments[0])[0], True
    return None, False


def _shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    return "" if default is None or default in ("", ()) else f"`{default}`"
