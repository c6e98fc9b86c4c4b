"""What the cells of tables hold beside plain values: lists that text formats write as a text.

The readers of images and the rules of own benchmarks call it.
"""

import ast
import json
from typing import Any

LONGEST = 1 << 28
"""Characters of a text that is parsed; a list of pictures in base64 is long."""


def listed(value: Any) -> list[Any] | None:
    """The list that a cell is or, as JSON or Python write it, that its text is; None of anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str) or not (value[:1] == "[" and value.rstrip()[-1:] == "]") or len(value) > LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed = parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return parsed if isinstance(parsed, list) else None
    return None


def text_of(value: Any) -> str:
    """A cell as text: nothing of an absent one, the values of a list with commas between."""
    if value is None:
        return ""
    return ", ".join(map(text_of, value)) if isinstance(value, list | tuple) else str(value)
