"""Spans of records equal those of a parser, whatever is in the strings and wherever chunks end."""

import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_ray.data.readers import json_records
from cli_ray.storage import files

TEXTS = st.text(st.sampled_from('ab"\\[]{},: \n\u00e9'), max_size=12)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True, scope="module")
def tiny_chunks() -> object:
    """Chunks of five bytes, so that every token is cut somewhere."""
    patch = pytest.MonkeyPatch()
    patch.setattr(json_records, "chunks", lambda file, start, end: files.chunks(file, start, end, size=5))
    yield
    patch.undo()


Cut = Callable[[pa.NativeFile, int, int], Iterator[tuple[int, int]]]


def parsed(text: bytes, cut: Cut, start: int) -> list[object]:
    """The records, each read from the file as soon as its span is known."""
    file, found = pa.BufferReader(text), []
    for begin, end in cut(file, start, len(text)):
        file.seek(begin)
        found.append(json.loads(file.read(end - begin)))
    return found


@given(records=st.lists(VALUES, max_size=6), indent=st.sampled_from([None, 1]))
def test_elements_of_an_array(records: list[object], indent: int | None) -> None:
    text = json.dumps(records, indent=indent, ensure_ascii=False).encode()
    assert parsed(text, json_records.elements, 1) == records
    spans = list(json_records.elements(pa.BufferReader(text), 1, len(text)))
    if spans:  # a part of the array is cut as the whole is
        middle = spans[len(spans) // 2 :]
        assert list(json_records.elements(pa.BufferReader(text), middle[0][0], middle[-1][1])) == middle


GAPS = st.sampled_from(["\n", "\r\n", "\n \n\n"])


@given(records=st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=6), gap=GAPS)
def test_lines(records: list[object], gap: str) -> None:
    text = gap.join(json.dumps(record) for record in records).encode()
    assert parsed(text, json_records.lines, 0) == records


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        ("[ \n ]", []),
        ('[{"a": 1},]', ['{"a": 1}']),
        ("[1, , 2]", ["1", "", "2"]),
        ("[1, 2] [3]", ["1", "2", "[3]"]),
        ('[{"a": "cut', ['{"a": "cut']),
        ('[{"a": [1}, {"b": 2}]', ['{"a": [1}, {"b": 2}]']),
        ("[tru, {]", ["tru", "{]"]),
    ],
)
def test_broken_arrays(text: str, expected: list[str]) -> None:
    raw = text.encode()
    spans = list(json_records.elements(pa.BufferReader(raw), 1, len(raw)))
    assert [text[start:end].strip() for start, end in spans] == expected
