"""The samples that lmms-eval 0.7.3 writes with `--log_samples`: `DATE_samples_TASK.jsonl`, a line for each item.

Follows `save_results_samples` in lmms_eval/loggers/evaluation_tracker.py, which leaves the document out: an item is
known by `doc_id`, its row in the split, and by `input`, what the model was asked.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from cli_ray.data.readers.json_records import lines
from cli_ray.errors import UserError
from cli_ray.evals.results.partners.names import LMMS_EVAL
from cli_ray.evals.results.partners.records import Partner, RecordsError, TheirRecord
from cli_ray.storage.files import open_file
from cli_ray.storage.folder import Folder

TOOL = "lmms-eval"
_NAME = re.compile(r"(?P<date>.*?)_?samples_(?P<task>.+)\.jsonl")
_LINE_BYTES = 1 << 26
"""Of a line at most: replies have thousands of tokens, not millions."""


def partner_in(folder: Folder) -> Partner | None:
    """The newest samples of each task in a folder, or in the one folder of a model below it; None where there are none.

    Raises:
        UserError: there are the samples of several models.
    """
    names = folder.names("")
    if not any(_NAME.fullmatch(name) for name in names):
        below = [name for name in folder.folders("") if any(map(_NAME.fullmatch, folder.names(name)))]
        if len(below) > 1:
            raise UserError(f"{folder.uri} has lmms-eval's samples of {', '.join(below)}: name the folder of one model")
        return partner_in(Folder(f"{folder.uri}/{below[0]}")) if below else None
    # Names begin with the date, so that the newest of a task comes last.
    newest = {match["task"]: match[0] for match in map(_NAME.fullmatch, sorted(names)) if match}
    files: dict[str, str] = {}
    left_out = []
    for task, name in newest.items():
        if task in LMMS_EVAL and LMMS_EVAL[task] not in files:
            files[LMMS_EVAL[task]] = f"{folder.uri}/{name}"
        else:
            left_out.append(task)
    what = "not a benchmark of ours, or another wording of one that is there, left out"
    notes = (f"{folder.uri}: {what}: {', '.join(left_out)}.",) if left_out else ()
    return Partner(TOOL, _model(folder), folder.uri, files, records, holds_prompts=True, notes=notes)


def partner_of(path: str) -> Partner | None:
    """The samples of one file; None where its name is no name of such.

    Raises:
        UserError: they are of a task that is no benchmark of ours.
    """
    folder, _, name = path.rpartition("/")
    match = _NAME.fullmatch(name)
    if not match:
        return None
    if match["task"] not in LMMS_EVAL:
        known = ", ".join(LMMS_EVAL)
        raise UserError(f"{path}: the task {match['task']} of lmms-eval is no benchmark of ours, only {known} are")
    files = {LMMS_EVAL[match["task"]]: path}
    return Partner(TOOL, _model(Folder(folder or ".")), path, files, records, holds_prompts=True)


def records(path: str) -> Iterator[TheirRecord]:
    """The samples of a file, in flat memory.

    Raises:
        RecordsError: a line is no JSON object or lacks what a sample has.
    """
    try:
        with open_file(path) as file:
            for number, (begin, end) in enumerate(lines(file, 0, file.size()), start=1):
                if end - begin > _LINE_BYTES:
                    raise RecordsError(
                        f"{path}: line {number:,} has {end - begin:,} bytes, no sample has: replace the file"
                    )
                yield _record(path, number, bytes(file.read_at(end - begin, begin)))
    except OSError as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _record(path: str, number: int, line: bytes) -> TheirRecord:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecordsError(f"{path}: line {number:,} is no JSON, so the file was cut or edited: {error}") from error
    needed = ("doc_id", "input", "target", "filtered_resps")
    lacking = [name for name in needed if not isinstance(values, dict) or name not in values]
    if lacking:
        raise RecordsError(
            f"{path}: line {number:,} lacks {', '.join(lacking)}: give what lmms-eval 0.7 writes with --log_samples"
        )
    reply, fault = _reply(values)
    return TheirRecord(str(values["doc_id"]), str(values["input"]), str(values["target"]), reply, fault=fault)


def _reply(values: dict[str, Any]) -> tuple[str, str]:
    """What the model wrote, before the task's filter if that is recorded, and what stands against a comparison."""
    given = values.get("resps", values["filtered_resps"])
    while isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, str):
        return given, ""
    return "", "several replies to an item (--repeats)" if isinstance(given, list) and given else "no reply as text"


def _model(folder: Folder) -> str:
    """As the run named it in its `DATE_results.json`; else the name of the folder."""
    for name in sorted(folder.names(""), reverse=True):
        if name.endswith("_results.json"):
            try:
                values = json.loads(folder.read(name) or "")
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict) and isinstance(values.get("model_name"), str) and values["model_name"]:
                return str(values["model_name"])
    return folder.uri.rpartition("/")[2]
