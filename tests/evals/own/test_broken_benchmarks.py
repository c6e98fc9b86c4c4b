"""Broken benchmark files, as people write them: each is told what is wrong and where, without a traceback."""

from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from tests.evals.items.hub_cache import png
from tests.evals.own.pictures import LETTERS, write_table, write_toml, write_tsv

HEAD = ("index", "image", "question", "A", "B", "C", "D", "answer", "category")
ROW = ["1", "red.png", "Which?", "a", "b", "c", "d", "A", "x"]
SCORED: dict[str, Any] = {"scorer": "exact", "columns": {"id": "index"}}
JUDGED = {"scorer": "judge", "judge": {"prompt": "Is {reply} right?"}}

DEFINITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (
        {"scorrer": "exact"},
        "mine.toml: scorrer: unknown field, perhaps 'scorer' is meant; docs/own_benc",
    ),
    "unknown key below": (
        {"columns": {"idx": "index", "options": "A"}},
        "mine.toml: columns.idx: unknown field, perhaps 'id' is meant; docs/own_benchmarks.md lists them all",
    ),
    "name with a slash": ({"name": "a/b"}, "mine.toml: name: 'a/b': use at most 100 letters, digits"),
    "name of ours": (
        {"name": "pope"},
        "mine.toml: name = 'pope' is that of a benchmark that comes along: take another",
    ),
    "title of two lines": ({"title": "a\nb"}, "mine.toml: title: must be one line without control characters"),
    "empty data": ({"data": ""}, "mine.toml: data: names no table, folder or URI"),
    "absent data": ({"data": "no.tsv"}, "colours: data = '{folder}/no.tsv': there is no such file or folder"),
    "no table": ({"data": "mine.toml"}, "mine.toml is no table: its name must end in .parquet, .jsonl, .csv, .tsv"),
    "unknown store": ({"data": "ftp://host/a.tsv"}, "data = 'ftp://host/a.tsv': it cannot be reached: "),
    "key in a URI": ({"data": "s3://key:secret@bucket/a.tsv"}, "mine.toml: data: holds a password or key"),
    "unknown scorer": ({"scorer": "bleu"}, "mine.toml: scorer: must be 'exact', 'letter', 'yes-no', 'relaxed', 'anls'"),
    "absent column": (
        {"columns": {"id": "index", "answer": "gold", "options": ["A", "B"]}},
        "colours.tsv lacks the column gold; it has index, image, question, A, B, C, D, answer, category. Name those",
    ),
    "unknown place": ({"prompt": "{qestion}"}, "colours.tsv lacks the column qestion; it has index, image, question"),
    "attribute in a place": ({"prompt": "{question.__class__}"}, "lacks the column question.__class__; it has"),
    "open brace": (
        {"prompt": "Which one?\nA } or B"},
        "mine.toml: prompt: line 2 has a single '}': write {column}, or }} for",
    ),
    "no name in a place": ({"prompt": "{ }"}, "mine.toml: prompt: line 1 has a place without a name: write {column}"),
    "image in a place": (
        {"prompt": "{image}{question}"},
        "mine.toml: prompt has {image}, a column of images, which",
    ),
    "no column of images": (
        {"columns": {"image": [], "options": "A"}},
        "mine.toml: columns.image: Tuple should have",
    ),
    "letters without options": ({"columns": {}}, "mine.toml: scorer = 'letter' needs columns.options"),
    "pattern without its scorer": ({"pattern": "a"}, "mine.toml: pattern belongs to scorer = 'regex', which needs it"),
    "pattern that is none": (
        SCORED | {"scorer": "regex", "pattern": "(?P<answer>["},
        "mine.toml: pattern: missing ]: [; the syntax is RE2's",
    ),
    "pattern that would explode": (
        SCORED | {"scorer": "regex", "pattern": r"(?P<answer>\w+)(?=\1+$)"},
        "mine.toml: pattern: invalid perl operator: (?=; the syntax is RE2's",
    ),
    "judge without a prompt": (SCORED | {"scorer": "judge"}, "mine.toml: judge.prompt belongs to scorer = 'judge', wh"),
    "judge without the reply": (
        SCORED | JUDGED | {"judge": {"prompt": "Is {answer} right?"}},
        "mine.toml: judge.prompt has no {reply}, so that the judge would not see what it grades",
    ),
    "judge with an open brace": (
        SCORED | {"scorer": "judge", "judge": {"prompt": "{reply}\n{"}},
        "mine.toml: judge.prompt: line 2 has a single '{': write {column}, or {{ for a brace",
    ),
    "nothing kept": ({"keep": {"category": "hot"}}, "colours.tsv has no item that `keep` takes"),
    "text for a number": ({"max_new_tokens": "8"}, "mine.toml: max_new_tokens: must be a number, without quotes"),
}
TABLES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "colours: {folder}/colours.tsv has no item"),
    "no rows": ("\t".join(HEAD).encode(), "colours: {folder}/colours.tsv has no item"),
    "UTF-16": ("\t".join(HEAD).encode("utf-16"), "colours.tsv: is UTF-16: save it as UTF-8"),
    "binary": (png(), "colours.tsv: the head is no UTF-8 text (byte 0): save the file as UTF-8"),
    "zero bytes": (b"index\0\n", "colours.tsv: the head holds a zero byte, so that this is no text: give a table"),
    "column twice": (b"index\tindex\n", "colours.tsv: has the column 'index' more than once: rename one in its first"),
    "quote without end": (
        "\t".join(HEAD).encode() + b'\n1\t"red',
        "colours.tsv: record 0 (the first is 0) has 2 cells, but the first line names 9 columns",
    ),
    "too few cells": (
        "\t".join(HEAD).encode() + b"\n1\tred.png\n",
        "colours.tsv: record 0 (the first is 0) has 2 cells, but the first line names 9 columns",
    ),
}
ROWS: dict[str, tuple[list[list[str]], str]] = {
    "duplicate ids": ([ROW, ROW], "colours: rows 0 and 1 have the same id '1', so that their replies would be taken"),
    "no id": ([["", *ROW[1:]]], "colours: row 0 of {folder} has no id: "),
    "absent picture": ([["1", "no.png", *ROW[2:]]], "1 (row 0): missing image: image: 'no.png' is not in {folder}"),
    "picture outside": ([["1", "../red.png", *ROW[2:]]], "1 (row 0): forbidden path: '../red.png': must be a relative"),
    "no picture": ([["1", "", *ROW[2:]]], "1 (row 0): missing image: nothing in image"),
    "text for a picture": ([["1", "mine.toml", *ROW[2:]]], "1 (row 0): broken image: image 1: Unidentified"),
    "answer that is no option": ([[*ROW[:7], "E", "x"]], "row 0: no scoring: ValueError: the answer 'E' is no letter"),
    "no answer": ([[*ROW[:7], "", "x"]], "row 0: no scoring: ValueError: the column 'answer' has no answer"),
}
PYTHON = {
    "raises": ("x = 1\nx / 0\n", "mine.py: line 2: ZeroDivisionError: division by zero"),
    "exits": ("import sys\nsys.exit(3)", "mine.py: line 2: SystemExit: 3"),
    "is no Python": ("a =\n", "mine.py: line 1: SyntaxError: invalid syntax"),
    "defines nothing": (
        "benchmark = 1",
        "mine.py: BENCHMARK is missing: set it to a cli_ray.evals.benchmark.Benchmark",
    ),
    "defines something else": ("BENCHMARK = {'name': 'a'}", "mine.py: BENCHMARK is or holds a dict, not a cli_ray.eva"),
    "lacks a field": (
        "from cli_ray.evals.benchmark import Benchmark\nBENCHMARK = Benchmark(name='a')",
        "mine.py: line 2: TypeError: Benchmark.__init__() missing",
    ),
}
TEXTS = {
    "syntax": (b'name = "a"\ntitle = \n', "mine.toml: not valid TOML: Invalid value (at line 2, column 9)"),
    "nothing": (b"", "mine.toml: name: Field required"),
    "UTF-16": ('name = "a"'.encode("utf-16"), "mine.toml: is not UTF-8: save it as UTF-8"),
    "a million of brackets": (b"a = " + b"[" * 100_000, "mine.toml: not valid TOML: "),
    "too large": (
        b"#" * (2 << 20),
        "mine.toml: has more than 1,048,576 bytes, which no definition needs",
    ),
}


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a check that fails says."""
    assert main(["eval", "--check", *words]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out + err


@pytest.mark.parametrize("case", DEFINITIONS)
def test_a_definition_that_cannot_be_used_says_why(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = DEFINITIONS[case]
    write_tsv(tmp_path)
    file = write_toml(tmp_path, LETTERS | changes)
    assert message.replace("{folder}", str(tmp_path)) in told(capsys, "--benchmark-file", file)


@pytest.mark.parametrize("field", ["name", "data", "prompt", "scorer"])
def test_a_field_that_is_needed_is_named(field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(tmp_path, {name: value for name, value in LETTERS.items() if name != field})
    assert f"mine.toml: {field}: Field required" in told(capsys, "--benchmark-file", file)


@pytest.mark.parametrize("case", TEXTS)
def test_a_file_that_is_no_definition_says_why(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_bytes(TEXTS[case][0])
    assert TEXTS[case][1] in told(capsys, "--benchmark-file", str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_read_says_why(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = TABLES[case]
    (tmp_path / "colours.tsv").write_bytes(content)
    file = write_toml(tmp_path, LETTERS)
    assert message.replace("{folder}", str(tmp_path)) in told(capsys, "--benchmark-file", file)


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_cannot_be_asked_or_scored_is_named(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, message = ROWS[case]
    write_table(tmp_path / "colours.tsv", HEAD, rows)
    (tmp_path / "red.png").write_bytes(png())
    file = write_toml(tmp_path, LETTERS)
    assert message.replace("{folder}", str(tmp_path)) in told(capsys, "--benchmark-file", file)


@pytest.mark.parametrize("case", PYTHON)
def test_a_python_file_without_a_benchmark_says_why(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(PYTHON[case][0])
    assert PYTHON[case][1] in told(capsys, "--benchmark-file", str(tmp_path / "mine.py"))


def test_files_that_are_not_there_or_of_another_kind_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no.toml: cannot be read: No such file" in told(capsys, "--benchmark-file", str(tmp_path / "no.toml"))
    assert "no.py: cannot be read: No such file" in told(capsys, "--benchmark-file", str(tmp_path / "no.py"))
    assert "a.json: is neither a .toml nor a .py file" in told(capsys, "--benchmark-file", "a.json")


def test_a_name_is_defined_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tsv(tmp_path)
    files = [write_toml(tmp_path, LETTERS, name) for name in ("a.toml", "b.toml")]
    assert "b.toml: name = 'colours' is defined twice" in told(capsys, "--benchmark-file", ",".join(files))


def test_there_are_no_bundled_items_of_an_own_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tsv(tmp_path)
    said = told(capsys, "--miniature", "--benchmark-file", write_toml(tmp_path, LETTERS))
    assert "no bundled items for colours, as for no own benchmark: leave the benchmark or --miniature out" in said
