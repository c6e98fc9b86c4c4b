"""Files of predictions as VLMEvalKit writes them, made of the bundled items: see `dump` in its vlmeval/smp/file.py."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.scoring.choice import lettered

Columns = dict[str, Any]


def _mmstar(doc: Doc) -> Columns:
    """Its TSV has the options in columns of their own."""
    question, _, options = doc["question"].partition("\nOptions: ")
    texts = dict(option.split(": ", 1) for option in options.split(", "))
    return {"index": doc["index"], "question": question} | texts | {"answer": doc["answer"]}


def _mmbench(doc: Doc) -> Columns:
    names = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "split")
    return {name: None if doc[name] == "nan" else doc[name] for name in names}


def _plain(doc: Doc) -> Columns:
    return {"question": doc["question"], "answer": doc["answer"]}


DATASETS: dict[str, tuple[str, Callable[[Doc], Columns]]] = {
    "MMStar": ("mmstar", _mmstar),
    "MMBench_DEV_EN": ("mmbench-en-dev", _mmbench),
    "ChartQA_TEST": ("chartqa", _plain),
    "DocVQA_VAL": ("docvqa-val", lambda doc: {"question": doc["question"], "answer": str(doc["answers"])}),
    "MME": ("mme", lambda doc: _plain(doc) | {"category": doc["category"]}),
    "POPE": ("pope", lambda doc: {"question": doc["question"], "answer": doc["answer"].capitalize()}),
    "AI2D_TEST": (
        "ai2d",
        lambda doc: (
            {"question": doc["question"], "answer": chr(ord("A") + int(doc["answer"]))} | lettered(doc["options"])
        ),
    ),
}
"""Our benchmark and the columns that are made of a document."""


def rows(dataset: str, replies: Mapping[int, str]) -> list[Columns]:
    """The rows of a file.

    Args:
        dataset: its name.
        replies: by row of the bundled items.
    """
    name, columns = DATASETS[dataset]
    docs = miniature.docs(name)
    return [{"index": number} | columns(docs[number]) | {"prediction": reply} for number, reply in replies.items()]


def write(path: Path, table: Sequence[Columns]) -> str:
    """Writes a table in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = import_module("pandas").DataFrame(list(table))
    if path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif path.suffix == ".json":
        path.write_text(json.dumps(frame.to_dict("records"), indent=4, ensure_ascii=False))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        frame.to_csv(path, sep=separator, index=False, encoding="utf-8", quoting=csv.QUOTE_ALL)
    return str(path)
