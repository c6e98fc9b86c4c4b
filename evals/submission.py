"""Files in the formats of the servers that score splits with hidden answers."""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence

from cli_ray.evals.benchmark import Answer, Doc, Graded

CELL = 32767
"""The longest text of a cell in Excel, in UTF-16 units: characters beyond U+FFFF count as two."""
CUT = " [cut to fit the cell]"
"""The end of a text that was cut, without a word that could be taken for the letter of an option."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def hidden(doc: Doc, reply: str) -> Graded:
    """No score: the answers lie with the server."""
    return Graded(None, reply, "answers are hidden", "ok" if reply else "unparsed")


def rrc(answers: Sequence[Answer]) -> bytes:
    """The Robust Reading Competition (DocVQA, InfoVQA): a list of `questionId` and `answer`."""
    return as_json([{"questionId": int(one.facets["questionId"]), "answer": one.parsed} for one in answers])


def evalai(answers: Sequence[Answer]) -> bytes:
    """VQA on EvalAI (VQAv2, TextVQA): a list of `question_id` and `answer`."""
    return as_json([{"question_id": one.facets["question_id"], "answer": one.parsed} for one in answers])


def vizwiz(answers: Sequence[Answer]) -> bytes:
    """VizWiz on EvalAI: a list of `image` and `answer`."""
    return as_json([{"image": f"{one.facets['question_id']}.jpg", "answer": one.parsed} for one in answers])


def normalised(normal: Callable[[str], str]) -> Callable[[Doc, str], Graded]:
    """`hidden`, with the reply as the normaliser leaves it: servers compare texts."""
    return lambda doc, reply: hidden(doc, normal(reply))


def as_json(rows: Sequence[Mapping[str, object]]) -> bytes:
    """A JSON list of objects, in UTF-8."""
    return json.dumps(list(rows), ensure_ascii=False).encode()


def xlsx(rows: Sequence[Mapping[str, object]]) -> bytes:
    """A workbook of one sheet: the keys of the first row, then the rows. Texts stay texts, also those that look like
    formulas.

    Characters that a workbook cannot hold, all those outside XML 1.0, are left out. A text longer than `CELL` loses its
    end for the mark `CUT`: one endless reply does not spoil the file, the server reads the rest of it, where an answer
    mostly is, and who opens the file sees the cut. The whole reply stays in the samples.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = WriteOnlyCell(sheet, _fitting(_NOT_XML.sub("", value)))
        text.data_type = "s"
        return text

    keys = list(rows[0]) if rows else []
    sheet.append(keys)
    for row in rows:
        sheet.append([cell(row[key]) for key in keys])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _fitting(text: str) -> str:
    """The text, or as much of it as a cell holds, no character halved, and the mark."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * CELL:
        return text
    return units[: 2 * (CELL - len(CUT))].decode("utf-16-le", errors="ignore") + CUT
