"""Files in the formats of the servers that score splits with hidden answers."""

import io
import json
from collections.abc import Callable, Mapping, Sequence

from evals.benchmark import Answer, Doc, Graded


def hidden(doc: Doc, reply: str) -> Graded:
    """No score: the answers lie with the server."""
    return Graded(None, reply, "answers are hidden", "ok" if reply else "unparsed")


def rrc(answers: Sequence[Answer]) -> bytes:
    """The Robust Reading Competition (DocVQA, InfoVQA): a list of `questionId` and `answer`."""
    return as_json([{"questionId": int(one.facets["questionId"]), "answer": one.reply} for one in answers])


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
    formulas; control characters, which a workbook cannot hold, are left out."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", value))
        text.data_type = "s"
        return text

    keys = list(rows[0]) if rows else []
    sheet.append(keys)
    for row in rows:
        sheet.append([cell(row[key]) for key in keys])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()
