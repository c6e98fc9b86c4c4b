"""Prompt templates: a text in which `{column}` stands for the cell of a row. `build` makes prompts of them.

Nothing but names is substituted, once: no attribute, no index, no format, whatever a template or a cell holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places."""

    parts: tuple[tuple[str, str], ...]
    """Pieces of text, each with the name of the place behind it; empty behind the last."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The template of a text, in which `{{` and `}}` are braces.

        Raises:
            ValueError: a brace opens or closes nothing.
        """
        parts, piece, at = [], "", 0
        for match in _PLACE.finditer(text):
            piece += text[at : match.start()]
            at, name = match.end(), (match[1] or "").strip()
            line = text.count("\n", 0, match.start()) + 1
            if name:
                parts.append((piece, name))
                piece = ""
            elif match[0] in ("{{", "}}"):
                piece += match[0][0]
            elif match[1]:
                raise ValueError(f"line {line} has a place without a name: write {{column}}")
            else:
                raise ValueError(
                    f"line {line} has a single {match[0]!r}: write {{column}}, or {2 * match[0]} for a brace"
                )
        return cls((*parts, (piece + text[at:], "")))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the places, each once."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with a value in each place."""
        return "".join(piece + (values[name] if name else "") for piece, name in self.parts)
