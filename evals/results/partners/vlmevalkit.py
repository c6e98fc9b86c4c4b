"""The predictions that VLMEvalKit writes: `outputs/MODEL/MODEL_DATASET.xlsx` (or .tsv, .json), a row for each item.

Follows vlmeval/inference.py and vlmeval/smp/file.py: the columns of the dataset without images, and `prediction`. Each
call has its folder `outputs/MODEL/T20260101-120000/`. Pickles are never opened: they run code when they are read.
"""

import re
from collections.abc import Iterator, Mapping
from string import ascii_uppercase

from cli_ray.errors import UserError
from cli_ray.evals.results.partners import sheets
from cli_ray.evals.results.partners.names import VLMEVALKIT
from cli_ray.evals.results.partners.records import Partner, TheirRecord
from cli_ray.storage.folder import Folder

TOOL = "VLMEvalKit"
_RUN = re.compile(r"T\d{8}[-_]\w+")
"""Folder of one call."""
_FAILED = "Failed to obtain answer"
"""How the prediction begins, or what it holds, where the model gave none."""
_OF_SCORING = re.compile(r"_(?:acc|score|result|rating|exact_matching|openai|gpt|judge|PREV|supp|checkpoint)")
"""In the names of files that it makes of predictions, or before them."""


def partner_in(folder: Folder) -> Partner | None:
    """The predictions in the folder of a model, those of the newest call first; None where there are none.

    Raises:
        UserError: they are of several models.
    """
    called = folder.uri.split("/")[-2 if _RUN.fullmatch(folder.uri.rpartition("/")[2]) else -1]
    runs = sorted((name for name in folder.folders("") if _RUN.fullmatch(name)), reverse=True)
    files: dict[str, str] = {}
    models, unknown, pickles = (dict[str, None]() for _ in range(3))
    for place in (*(f"{run}/" for run in runs), ""):
        for name in folder.names(place.rstrip("/")):
            stem, _, suffix = name.rpartition(".")
            rest = stem.removeprefix(f"{called}_")
            dataset = _dataset(stem)
            if suffix in sheets.SUFFIXES and dataset:
                models[stem.removesuffix(f"_{dataset}")] = None
                files.setdefault(VLMEVALKIT[dataset], f"{folder.uri}/{place}{name}")
            elif rest != stem and not _OF_SCORING.search(rest):
                (pickles if suffix == "pkl" else unknown).setdefault(rest)
    if len(models) > 1:
        raise UserError(
            f"{folder.uri} has VLMEvalKit's predictions of {', '.join(models)}: name the folder of one model"
        )
    if not models and not unknown and not pickles:
        return None
    notes = [f"{folder.uri}: not a benchmark of ours, left out: {', '.join(unknown)}."] if unknown else []
    notes += [f"{folder.uri}: pickles are not opened, left out: {', '.join(pickles)}."] if pickles else []
    model = next(iter(models), called)
    return Partner(TOOL, model, folder.uri, files, records, holds_prompts=False, notes=tuple(notes))


def partner_of(path: str) -> Partner | None:
    """The predictions of one file; None where its ending is none of theirs.

    Raises:
        UserError: it is a pickle, or its name ends in no dataset that is a benchmark of ours.
    """
    stem, _, suffix = path.rpartition("/")[2].rpartition(".")
    if suffix == "pkl":
        raise UserError(
            f"{path}: pickles run code when they are read, so they are not opened: set PRED_FORMAT=tsv for VLMEvalKit, "
            "or save the table as .tsv"
        )
    if suffix not in sheets.SUFFIXES:
        return None
    dataset = _dataset(stem)
    if not dataset:
        raise UserError(
            f"{path}: its name says no dataset that is a benchmark of ours: name it MODEL_DATASET.{suffix}, DATASET "
            f"one of {', '.join(VLMEVALKIT)}"
        )
    model = stem.removesuffix(f"_{dataset}")
    return Partner(TOOL, model, path, {VLMEVALKIT[dataset]: path}, records, holds_prompts=False)


def records(path: str) -> Iterator[TheirRecord]:
    """The predictions of a file.

    Raises:
        RecordsError: it cannot be read, is larger than such a file is, or lacks a column.
    """
    cut_at = sheets.CELL_CHARS if path.endswith(".xlsx") else None
    for row in sheets.rows(path, ("index", "question", "prediction")):
        yield _record(row, cut_at)


def _dataset(stem: str) -> str:
    """The dataset that the name of a file ends in; empty where it is none of ours."""
    return max((name for name in VLMEVALKIT if stem.endswith(f"_{name}")), key=len, default="")


def _record(row: Mapping[str, str], cut_at: int | None) -> TheirRecord:
    reply = row["prediction"]
    cut = cut_at is not None and len(reply) >= cut_at
    return TheirRecord(
        number=row["index"],
        question=row["question"],
        gold=row.get("answer", ""),
        reply=reply,
        options=tuple(row[letter] for letter in ascii_uppercase if row.get(letter)),
        failed=_FAILED in reply,
        fault=f"reply cut by xlsx at {cut_at:,} characters" if cut else "",
    )
