"""From the short rows of `items` to the official columns of a benchmark."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]

IMAGES = re.compile(r"image(_\d)?|decoded_image")
"""Columns of images. MathVista's `image` is a file name, which stays as it is."""

HIDDEN: Mapping[str, tuple[str, Row]] = {
    "docvqa-test": ("docvqa-val", {"answers": None}),
    "infovqa-test": ("infovqa-val", {"answers": None}),
    "textvqa-test": ("textvqa-val", {"answers": None}),
    "vqav2-test": ("vqav2-val", {"answers": None}),
    "vizwiz-test": ("vizwiz-val", {"answers": None}),
    "mmbench-en-test": ("mmbench-en-dev", {"answer": "nan", "split": "test"}),
    "mmbench-cn-test": ("mmbench-cn-dev", {"answer": "nan", "split": "test"}),
    "mmmu-test": ("mmmu-val", {"answer": "?"}),
}
"""Splits without answers: the items of another one, with these columns instead."""

_ROTATION = 10**6
"""MMBench adds it to the index of an item for each turn of its options."""


def complete(name: str, rows: Sequence[Row]) -> list[Row]:
    """The rows in the official columns.

    Args:
        name: of the benchmark.
        rows: of its file in `items`.
    """
    family = next((prefix for prefix in _FAMILIES if name.startswith(prefix)), "")
    return [item for row in rows for item in _FAMILIES[family](row)] if family else list(rows)


def _ten(row: Row) -> list[Row]:
    """Answers of ten people, of which the file has how often each was given."""
    return [row | {"answers": [answer for answer, times in row["answers"].items() for _ in range(times)]}]


def _ten_numbered(row: Row) -> list[Row]:
    (ten,) = _ten(row)
    answers = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(ten["answers"], start=1)
    ]
    return [row | {"answers": answers}]


def _circular(row: Row) -> list[Row]:
    """An item of MMBench and its turns: each option once at each letter. The first option in the file is right."""
    options: list[str] = row["options"]
    letters = "ABCD"[: len(options)]
    rest = {key: value for key, value in row.items() if key != "options"}
    turns = []
    for turn in range(len(options)):
        turned = options[-turn:] + options[:-turn] if turn else options
        placed = dict.fromkeys("ABCD", "nan") | dict(zip(letters, turned, strict=True))
        turns.append(rest | placed | {"index": row["index"] + turn * _ROTATION, "answer": letters[turn]})
    return turns


def _all_images(row: Row) -> list[Row]:
    """MMMU has seven columns of images, and options as the text of a Python list."""
    return [{f"image_{n}": None for n in range(1, 8)} | row | {"options": str(row["options"])}]


def _four_images(row: Row) -> list[Row]:
    return [{f"image_{n}": None for n in range(1, 5)} | row]


_FAMILIES: dict[str, Callable[[Row], list[Row]]] = {
    "textvqa": _ten,
    "vizwiz": _ten,
    "vqav2": _ten_numbered,
    "mmbench": _circular,
    "mmmu": _all_images,
    "blink": _four_images,
}
