"""Files for servers are in the formats that these ask for."""

import io
import json
from typing import Any

import openpyxl
import pytest

from evals.benchmark import Answer
from evals.submission import xlsx
from evals.suite import benchmark


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
