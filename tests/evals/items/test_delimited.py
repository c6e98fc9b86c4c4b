"""CSV and TSV files of any kind are read as Python's `csv` reads them, a part at a time."""

import csv
import io
import random
import tracemalloc
from pathlib import Path

import pytest

from cli_ray.errors import UserError
from cli_ray.evals.items import delimited, tables
from cli_ray.storage import files

BITS = ["a", '"', '""', "\n", "\r\n", "\t", ",", "é", " ", "b" * 30, "'"]


def written(rows: list[list[str]], draw: random.Random, end: str) -> bytes:
    """The file of some rows, with either line end and perhaps a byte order mark."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimited.DELIMITERS[end], lineterminator=draw.choice(["\n", "\r\n"]))
    writer.writerows([["id", "x", "y"], *rows])
    return draw.choice([b"", b"\xef\xbb\xbf"]) + text.getvalue().encode()


def cells_of(path: Path) -> list[list[str]]:
    """All rows of a file."""
    parts = tables.survey(str(path), 0).parts
    return [list(row.values()) for part in parts for _, row in tables.rows(part, ("id", "x", "y"))]


@pytest.mark.parametrize("end", [".csv", ".tsv"])
def test_what_a_writer_wrote_is_read(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, chunks = random.Random(end), files.chunks
    path = tmp_path / f"table{end}"
    for number in range(60):
        size = draw.choice([1, 2, 3, 7, 64, 1 << 20])  # records, quotes and line ends lie across the borders
        monkeypatch.setattr(
            "cli_ray.evals.items.delimited.chunks",
            lambda file, start, stop, size=size: chunks(file, start, stop, first=size, size=size),
        )
        rows = [
            [str(row), *("".join(draw.choices(BITS, k=draw.randrange(8))) for _ in range(2))]
            for row in range(draw.choice([1, 5, 128, 129, 200]) if number % 10 == 0 else 12)
        ]
        path.write_bytes(written(rows, draw, end))
        assert cells_of(path) == rows


def test_a_quote_within_a_cell_is_itself_and_blank_lines_are_none(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text('id\tx\ty\n1\t5" pipe\tit\'s "so"\n\n2\t6" pipe\t\n\r\n')
    assert cells_of(path) == [["1", '5" pipe', 'it\'s "so"'], ["2", '6" pipe', ""]]


def test_numbers_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,x,y\n007,1e3,NaN\n")
    assert cells_of(path) == [["007", "1e3", "NaN"]]


def test_a_file_larger_than_what_is_held_is_read_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    with path.open("w") as file:
        file.write("id\tx\ty\n")
        for row in range(60):
            file.write(f"{row}\t{'a' * (1 << 20)}\t1\n")

    tracemalloc.start()
    assert sum(1 for part in tables.survey(str(path), 0).parts for _ in tables.rows(part, ("id",))) == 60
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20


def test_a_record_without_end_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 4 << 20)
    path = tmp_path / "table.csv"
    path.write_bytes(b'id,x,y\n1,"' + b"a" * (9 << 20))
    with pytest.raises(UserError, match="the record at byte 7 has no end within 4 MiB: close its quote"):
        tables.survey(str(path), 0)


def test_rows_that_are_wanted_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,x,y\n" + "".join(f"{row},a,b\n" for row in range(300)) + "broken\n")
    part = tables.survey(str(path), 1000).parts[2]
    assert (part.first, part.rows) == (1256, 45)
    found = tables.rows(part, ("y", "id", "absent"), {1258, 1299})
    assert list(found) == [(1258, {"y": "b", "id": "258"}), (1299, {"y": "b", "id": "299"})]
