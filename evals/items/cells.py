"""What the cells of tables hold beside plain values: lists that text formats write as a text.

The readers of images and the rules of own benchmarks call it.
"""

import ast
import json
import re
from typing import Any

_ITEM = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|[-+]?[\w.]++)\s*+"""
_FLAT = re.compile(rf"\[\s*+(?:{_ITEM},\s*+)*+(?:{_ITEM})?\]\s*", re.DOTALL)
"""A list as Python writes it, without lists in it: parsing deep ones can end the process."""


def listed(value: Any) -> list[Any] | None:
    """The list that a cell is or, as JSON or Python write it, that its text is; None of anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str) or not value.startswith("["):
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        parsed = _of_python(value)
    return parsed if isinstance(parsed, list) else None


def _of_python(text: str) -> Any:
    try:
        return ast.literal_eval(text) if _FLAT.fullmatch(text) else None
    except (ValueError, SyntaxError, MemoryError):
        return None


def text_of(value: Any) -> str:
    """A cell as text: nothing of an absent one, the values of a list with commas between."""
    if value is None:
        return ""
    return ", ".join(map(text_of, value)) if isinstance(value, list | tuple) else str(value)
