"""Tables that strangers wrote: wrong, damaged and hostile ones end in a message, and cost no memory."""

import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from cli_ray.evals.results.partners import sheets
from cli_ray.evals.results.partners.records import RecordsError
from tests.evals.results.partners.vlmevalkit_writer import Columns, write

TABLE: list[Columns] = [{"index": 3, "prediction": 'a "quoted"\nreply\t, with all'}, {"index": 4, "prediction": None}]
NEEDED = ("index", "prediction")


@pytest.mark.parametrize("suffix", sheets.SUFFIXES)
def test_cells_are_the_texts_that_were_written(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", TABLE)
    assert list(sheets.rows(path, NEEDED)) == [
        {"index": "3", "prediction": TABLE[0]["prediction"]},
        {"index": "4", "prediction": ""},
    ]


@pytest.mark.parametrize("suffix", sheets.SUFFIXES)
def test_tables_without_a_column_or_a_row_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", [{"index": 1, "score": 0.5}])
    with pytest.raises(
        RecordsError, match=r"lacks the column prediction; it has index, score: give the file of predict"
    ):
        list(sheets.rows(path, NEEDED))
    path = write(tmp_path / f"b.{suffix}", [])
    with pytest.raises(RecordsError):
        list(sheets.rows(path, NEEDED))


@pytest.mark.parametrize("suffix", sheets.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe broken", "index\tprediction\n1\tgrün".encode("latin-1")])
def test_files_that_are_no_tables_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(RecordsError, match=rf"a.{suffix}: "):
        list(sheets.rows(str(path), NEEDED))


def test_cut_files_are_refused(tmp_path: Path) -> None:
    for suffix in ("xlsx", "json"):
        path = Path(write(tmp_path / f"a.{suffix}", TABLE))
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(RecordsError, match=r"cannot be read as .xlsx|is no JSON, so the file was cut or edited"):
            list(sheets.rows(str(path), NEEDED))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(RecordsError, match="is no JSON"):
        list(sheets.rows(str(tmp_path / "deep.json"), NEEDED))
    (tmp_path / "scores.json").write_text('{"Overall": 1}')
    with pytest.raises(RecordsError, match="is no list of JSON objects"):
        list(sheets.rows(str(tmp_path / "scores.json"), NEEDED))
    with pytest.raises(RecordsError, match=r"absent.tsv: cannot be read"):
        list(sheets.rows(str(tmp_path / "absent.tsv"), NEEDED))


def test_what_unpacks_to_more_than_a_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(1 << 20))
    monkeypatch.setattr(sheets, "FILE_BYTES", 1 << 19)
    with pytest.raises(RecordsError, match="unpacks to 1,048,576 bytes, more than the 524,288 that are read"):
        list(sheets.rows(str(path), NEEDED))
    path = tmp_path / "large.tsv"
    path.write_bytes(b"index\n" * (1 << 17))
    with pytest.raises(RecordsError, match="786,432 bytes are more than the 524,288 that are read"):
        list(sheets.rows(str(path), NEEDED))


def test_entities_of_xml_do_not_grow(tmp_path: Path) -> None:
    whole = Path(write(tmp_path / "a.xlsx", TABLE))
    bombs = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        for name in source.namelist():
            text = source.read(name).decode()
            if name.endswith("sheet1.xml"):
                head = f'<!DOCTYPE worksheet [<!ENTITY b0 "ha">{bombs}]>'
                text = text.replace("<worksheet", f"{head}<worksheet", 1).replace("<v>3</v>", "<v>&b11;</v>")
            archive.writestr(name, text)
    with pytest.raises(RecordsError, match=r"b.xlsx: cannot be read as .xlsx"):
        list(sheets.rows(str(tmp_path / "b.xlsx"), NEEDED))


def test_what_a_sheet_says_of_its_size_costs_nothing(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["index", "prediction"])
    sheet.append([1, "=SUM(A1:A9)"])
    sheet["XFD5"] = "far away"
    book.save(tmp_path / "a.xlsx")
    assert next(sheets.rows(str(tmp_path / "a.xlsx"), NEEDED)) == {"index": "1", "prediction": "=SUM(A1:A9)"}
