"""The config table of the README, generated from the schema: `python -m cli_ray.config.table`."""

import types
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cli_ray.config.base import Section
from cli_ray.config.run import RunConfig

START, END = "<!-- config table: start -->", "<!-- config table: end -->"


def table(section: type[Section] = RunConfig, prefix: str = "") -> str:
    """A Markdown table of all fields with default and meaning."""
    rows = "\n".join(f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _rows(section, prefix))
    return f"| field | default | meaning |\n| --- | --- | --- |\n{rows}"


def with_table(readme: str) -> str:
    """The README's text with the table between its two marks renewed."""
    before, rest = readme.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


def _rows(section: type[Section], prefix: str) -> list[tuple[str, str, str]]:
    rows = []
    for name, field in section.model_fields.items():
        below, many = _section_of(field.annotation)
        if below is None:
            rows.append(
                (prefix + name, _default(field), " ".join((field.description or "").split()).replace("|", "\\|"))
            )
        else:
            rows += _rows(below, f"{prefix}{name}{'[]' if many else ''}.")
    return rows


def _section_of(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section behind an annotation, and whether there are several of it."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (tuple, types.UnionType) and arguments:
        return _section_of(arguments[0])[0], True
    return None, False


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default in ("", ()):
        return ""
    return f"`{field.default}`"


if __name__ == "__main__":
    path = Path("README.md")
    path.write_text(with_table(path.read_text()))
