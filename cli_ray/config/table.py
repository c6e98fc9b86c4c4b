"""The config as a Markdown table, generated from the schema."""

import types
import typing
from typing import Any

from pydantic_core import PydanticUndefined

from cli_ray.config.base import Section
from cli_ray.config.run import RunConfig


def table(section: type[Section] = RunConfig, prefix: str = "") -> str:
    """A Markdown table of all fields with default and meaning."""
    rows = "\n".join(f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _rows(section, prefix))
    return f"| field | default | meaning |\n| --- | --- | --- |\n{rows}"


def _rows(section: type[Section], prefix: str, default: Section | None = None) -> list[tuple[str, str, str]]:
    """Field, default and meaning; `default` is what the field that holds the section defaults to."""
    rows = []
    for name, field in section.model_fields.items():
        value = field.default if default is None else getattr(default, name)
        below, many = _section_of(field.annotation)
        if below is None:
            meaning = " ".join((field.description or "").split())
            rows.append((prefix + name, _shown(value), meaning.replace("|", "\\|")))
        else:
            given = value if isinstance(value, Section) else None
            rows += _rows(below, f"{prefix}{name}{'[]' if many else ''}.", given)
    return rows


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
