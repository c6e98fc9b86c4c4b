"""Files in the formats of the servers that score splits with hidden answers.

Benchmarks name one of the writers in their `Submission`; `cli_ray.evals.results.output` calls it.
"""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence

from cli_ray.evals.benchmark import Answer, Doc, Graded

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def hidden(doc: Doc, reply: str) -> Graded:
    """No score: the answers lie with the server."""
    return Graded(None, reply, "answers are hidden", "ok" if reply else "unparsed")


def rrc(answers: Sequence[Answer]) -> bytes:
    """The Robust Reading Competition (DocVQA, InfoVQA): a list of `questionId` and `answer`."""
    return as_json([{"questionId": int(answer.facets["questionId"]), "answer": answer.parsed} for answer in answers])


def evalai(answers: Sequence[Answer]) -> bytes:
    """VQA on EvalAI (VQAv2, TextVQA): a list of `question_id` and `answer`."""
    return as_json([{"question_id": answer.facets["question_id"], "answer": answer.parsed} for answer in answers])


def vizwiz(answers: Sequence[Answer]) -> bytes:
    """VizWiz on EvalAI: a list of `image` and `answer`."""
    return as_json([{"image": f"{answer.facets['question_id']}.jpg", "answer": answer.parsed} for answer in answers])


def normalised(normal: Callable[[str], str]) -> Callable[[Doc, str], Graded]:
    """`hidden`, with the reply as the normaliser leaves it: servers compare texts."""
    return lambda doc, reply: hidden(doc, normal(reply))


def as_json(rows: Sequence[Mapping[str, object]]) -> bytes:
    """A JSON list of objects, in UTF-8."""
    return json.dumps(list(rows), ensure_ascii=False).encode()


def xlsx(rows: Sequence[Mapping[str, object]]) -> bytes:
    """A workbook of one sheet: the keys of the first row, then the rows. Texts stay texts, also those that look like
    formulas.

    Characters that a workbook cannot hold, all those outside XML 1.0, are left out. openpyxl cuts a text at 32,767
    characters, the most that a cell holds; the whole reply stays in the samples.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = WriteOnlyCell(sheet, _NOT_XML.sub("", value))
        text.data_type = "s"
        return text

    keys = list(rows[0]) if rows else []
    sheet.append(keys)
    for row in rows:
        sheet.append([cell(row[key]) for key in keys])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()
