"""Files for servers are in the formats that these ask for."""

import io
import json
from typing import Any

import openpyxl
import pytest

from cli_ray.evals.benchmark import Answer
from cli_ray.evals.submission import xlsx
from cli_ray.evals.suite import benchmark


@pytest.mark.parametrize(
    ("name", "column", "value", "entry"),
    [
        ("docvqa-test", "questionId", "57349", {"questionId": 57349, "answer": "The “Dog”."}),
        ("infovqa-test", "questionId", 98313, {"questionId": 98313, "answer": "The “Dog”."}),
        ("textvqa-test", "question_id", 39602, {"question_id": 39602, "answer": "“dog”"}),
        ("vqav2-test", "question_id", 262144000, {"question_id": 262144000, "answer": "The “Dog”."}),
        ("vizwiz-test", "question_id", "VizWiz_test_7", {"image": "VizWiz_test_7.jpg", "answer": "“dog”"}),
    ],
)
def test_json_lists(name: str, column: str, value: object, entry: dict[str, Any]) -> None:
    one = benchmark(name)
    assert one.submission is not None
    reply = "The “Dog”."
    graded = one.score({column: value}, reply)
    written = one.submission.write([Answer(str(value), reply, graded.parsed, {column: value})])
    assert json.loads(written) == [entry]
    assert one.facets == (column,)


def predictions(*replies: str) -> list[str]:
    """The texts of a workbook as it is read back."""
    sheet = openpyxl.load_workbook(io.BytesIO(xlsx([{"prediction": reply} for reply in replies]))).active
    assert sheet is not None
    return [str(value) for (value,) in sheet.iter_rows(min_row=2, values_only=True)]


def test_workbooks_hold_rows_in_order_without_control_characters() -> None:
    rows = [{"index": 1, "prediction": "A\x0b dog"}, {"index": 1000001, "prediction": "=1+1 é"}]
    sheet = openpyxl.load_workbook(io.BytesIO(xlsx(rows))).active
    assert sheet is not None
    assert sheet["B3"].data_type == "s"
    assert list(sheet.iter_rows(values_only=True)) == [
        ("index", "prediction"),
        (1, "A dog"),
        (1000001, "=1+1 é"),
    ]


def test_characters_outside_xml_are_left_out() -> None:
    assert predictions("A\ufffe\uffff\ud800\udfff\x00\x1f", "\ue000\ufffd\U0001f436\U0010ffff\t\n") == [
        "A", "\ue000\ufffd\U0001f436\U0010ffff\t\n",
    ]  # fmt: skip


def test_a_text_that_no_cell_holds_is_cut_and_spoils_no_other() -> None:
    longest = 32_767
    assert predictions("x" * longest, "B" + "y" * longest, "C") == ["x" * longest, "B" + "y" * (longest - 1), "C"]
