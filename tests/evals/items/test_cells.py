"""Lists in the cells of text formats."""

import base64
from typing import Any

import pytest

from cli_ray.evals.items.cells import listed, text_of

LONG = base64.b64encode(bytes(1 << 20)).decode()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (["a"], ["a"]), (("a", 1), ["a", 1]), ('["a", "b"]', ["a", "b"]),
        ("['a', \"it's\", 'b\\n']\n", ["a", "it's", "b\n"]),
        ("[1, 2.5]", [1, 2.5]), ("['a',]", ["a"]), ("[]", []), ("['']", [""]), ("[None, True]", [None, True]),
        (f"['{LONG}', '{LONG}']", [LONG, LONG]),
        (None, None), (3, None), ("", None), ("a", None), ("[a]", None), ("[red, green]", None), ("['a'", None),
        ("[1] and [2]", None), ('{"a": 1}', None), ("[__import__('os')]", None), ("[" * 100_000 + "]" * 100_000, None),
        ("[" + "-" * 100_000 + "1]", None), ("['" + "\\" * 100_001 + "']", None),
    ],
)  # fmt: skip
def test_a_cell_is_a_list_where_it_or_its_text_is_one(cell: Any, expected: list[Any] | None) -> None:
    assert listed(cell) == expected


def test_cells_as_texts() -> None:
    assert [text_of(cell) for cell in (None, 1, "a", ["a", None, 2])] == ["", "1", "a", "a, , 2"]
