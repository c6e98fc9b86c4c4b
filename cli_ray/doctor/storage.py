"""The folder of runs: written, read and deleted by every node, each of which must see what the others wrote.

Data and models: there, on every node, before a run looks for them. No weights are downloaded.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from huggingface_hub import HfApi, try_to_load_from_cache
from pyarrow import ArrowException

from cli_ray.config import ModelConfig, RunConfig
from cli_ray.doctor.cluster import Answers, on_every_node, silent_nodes
from cli_ray.doctor.finding import Finding, first_line
from cli_ray.doctor.machine import GIB
from cli_ray.errors import UserError
from cli_ray.storage.files import list_files
from cli_ray.storage.folder import Folder

FULL = 0.95
"""Share of a disk from which on Ray writes nothing to it, see RAY_local_fs_capacity_threshold."""
MARKER = ".doctor-"
"""Beginning of the name of the folder of markers below the folder of runs."""


@dataclass(frozen=True, slots=True)
class Written:
    """How it went to write a marker."""

    fault: str
    """Why it could not be written; empty when it was."""
    free_bytes: int = 0
    total_bytes: int = 0
    """Of the disk; 0 for object stores."""


def check_storage(uri: str, timeout_s: float) -> list[Finding]:
    """Writes a marker from each node, reads all of them on each, and removes them.

    Args:
        uri: of the folder of runs.
        timeout_s: seconds for each of the three, over all nodes.
    """
    folder = f"{uri.rstrip('/')}/{MARKER}{uuid4().hex}"
    written = on_every_node(write_marker, folder, timeout_s=timeout_s)
    good = [name for name, one in written.found.items() if not one.fault]
    read = on_every_node(unseen_markers, folder, good, timeout_s=timeout_s)
    left = on_every_node(remove_markers, folder, timeout_s=timeout_s)
    # A node that gives no answer once is told once.
    silent: Answers[object] = Answers(silent=left.silent | read.silent | written.silent)
    faults = [_unwritable(uri, name, one.fault) for name, one in written.found.items() if one.fault]
    faults += [_unshared(uri, name, unseen) for name, unseen in read.found.items() if unseen and name in good]
    faults += [
        Finding("storage", "error", f"{name}: what was written to {uri} cannot be deleted: {fault}", f"rm -r {folder}")
        for name, fault in left.found.items()
        if fault
    ]
    full = [_full(uri, name, one) for name, one in written.found.items() if one.total_bytes and _share(one) > FULL]
    return [*silent_nodes(silent), *faults, *full] or [_well(uri, written.found)]


def write_marker(name: str, folder: str) -> Written:
    """Writes a marker and looks how much room is left.

    Args:
        name: of the node, which the marker gets.
        folder: of the markers, a path or URI.
    """
    try:
        place = Folder(folder)
        place.write(name, name)
        if not place.is_local:
            return Written("")
        disk = shutil.disk_usage(place.path)
    except (OSError, ArrowException) as error:
        return Written(first_line(error))
    return Written("", disk.free, disk.total)


def unseen_markers(name: str, folder: str, names: list[str]) -> list[str]:
    """Those of `names` whose markers this node cannot read."""
    place = Folder(folder)
    unseen = []
    for one in names:
        try:
            text = place.read(one)
        except (OSError, ArrowException):
            text = None
        if text != one:
            unseen.append(one)
    return unseen


def remove_markers(name: str, folder: str) -> str:
    """Removes the markers that this node sees; says why it could not."""
    place = Folder(folder)
    try:
        with suppress(FileNotFoundError):  # another node was faster
            place.delete("")
    except (OSError, ArrowException) as error:
        return first_line(error) if place.names("") else ""
    return ""


def _unwritable(uri: str, name: str, fault: str) -> Finding:
    fix = "mount it there for reading and writing, let this user write to it, or give another --runs-dir"
    return Finding("storage", "error", f"{name}: {uri} cannot be written: {fault}", fix)


def _unshared(uri: str, name: str, unseen: list[str]) -> Finding:
    what = f"{name}: does not see what {', '.join(unseen)} wrote to {uri}, which is not shared"
    return Finding("storage", "error", what, "mount one filesystem there on all nodes, or give a URI such as s3://")


def _full(uri: str, name: str, one: Written) -> Finding:
    what = f"{name}: the disk of {uri} is {_share(one):.0%} full, {one.free_bytes / GIB:.1f} GiB are free"
    return Finding("storage", "error", what, "make room: a checkpoint that finds none is left out")


def _well(uri: str, written: dict[str, Written]) -> Finding:
    free = [one.free_bytes for one in written.values() if one.total_bytes]
    room = f", {min(free) / GIB:,.1f} GiB free" if free else ""
    seen = f"; {len(written)} nodes see what each of them wrote" if len(written) > 1 else ""
    return Finding("storage", "ok", f"{uri} can be written, read and deleted{room}{seen}")


def _share(one: Written) -> float:
    return 1 - one.free_bytes / one.total_bytes


HUB_S = 10.0
"""Seconds in which the hub must answer."""


def check_sources(config: RunConfig, timeout_s: float) -> list[Finding]:
    """Whether every node finds the shards, the same number of them, and the model."""
    sources = {source.label: source.path for source in (*config.data.sources, *config.validation.sources)}
    seen = on_every_node(count_files, sources, timeout_s=timeout_s)
    findings = [one for label, path in sources.items() for one in _check(label, path, seen.found)]
    models = model_names(config.model)
    if models:
        found = on_every_node(find_models, models, config.model.revision, timeout_s=timeout_s)
        absent = [one for model in models for one in _check_model(model, found.found)]
        findings += absent
        if any(one.level == "error" for one in absent):
            return [*silent_nodes(seen), *findings]
    read = on_every_node(try_model, config.model_dump(mode="json"), timeout_s=timeout_s)
    return [*silent_nodes(seen), *findings, *silent_nodes(read), *_check_read(read.found)]


def try_model(name: str, values: dict[str, Any]) -> str:
    """Why this node cannot read config, tokenizer and processor of a model as a run would; empty where it can.

    Args:
        name: of the node; not used.
        values: of the run's config.
    """
    from cli_ray.data.encoder import Encoder
    from cli_ray.model.attention import check_attention
    from cli_ray.model.build import load_processor, resolve_injection

    config = RunConfig.model_validate(values)
    try:
        check_attention(config.model.attention, "model.attention")
        resolve_injection(config.model, config.injection)
        Encoder(load_processor(config.model), config.data)
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a broken file makes of a tokenizer
        return f"the tokenizer or the processor cannot be loaded: {first_line(error)}"
    return ""


def model_names(model: ModelConfig) -> list[str]:
    """Folders and hub ids that are loaded; the made model `tiny` is none."""
    names = (model.checkpoint, model.vision_tower, model.language_model)
    return [name for name in names if name and name != "tiny"]


def count_files(name: str, sources: dict[str, str]) -> dict[str, int | str]:
    """How many files each source has on this node, or why it cannot be read.

    Args:
        name: of the node; not used.
        sources: path or URI by label.
    """
    counts: dict[str, int | str] = {}
    for label, path in sources.items():
        try:
            counts[label] = len(list_files(path))
        except UserError as error:
            counts[label] = str(error)
    return counts


def find_models(name: str, models: list[str], revision: str) -> dict[str, str]:
    """Why this node does not find each model; empty where it does, as a folder, in the cache or on the hub.

    Args:
        name: of the node; not used.
        models: folders or hub ids.
        revision: on the hub.
    """
    return {model: _missing(model, revision) for model in models}


def _missing(model: str, revision: str) -> str:
    if Path(model).is_dir():
        return "" if (Path(model) / "config.json").is_file() else "the folder has no config.json"
    if model.startswith(("/", ".", "~")):
        return "no such folder"
    model, _, own = model.partition("@")
    revision = own or revision
    if isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str):
        return ""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return "no such folder, not in the cache of the hub, and HF_HUB_OFFLINE is set"
    try:
        HfApi().model_info(model, revision=revision, timeout=HUB_S)
    except Exception as error:  # whatever a network makes of it
        return f"no such folder, and the hub says: {first_line(error)}"
    return ""


def _check(label: str, path: str, seen: dict[str, dict[str, int | str]]) -> list[Finding]:
    counts = {name: answer[label] for name, answer in seen.items()}
    fix = "put the data where all nodes see it, or correct data.sources"
    faults = [
        Finding("data", "error", f"{name}: {fault}", fix) for name, fault in counts.items() if isinstance(fault, str)
    ]
    if faults:
        return faults
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} on {name}" for name, count in counts.items())
        return [Finding("data", "error", f"{label}: nodes see different numbers of files in {path}: {told}", fix)]
    return [Finding("data", "ok", f"{label}: {next(iter(counts.values()))} file(s) in {path}")] if counts else []


def _check_read(seen: dict[str, str]) -> list[Finding]:
    faults = [
        Finding("model", "error", f"{name}: {fault}", "correct the model section, or the file that is named")
        for name, fault in seen.items()
        if fault
    ]
    told = f"config, tokenizer and processor load on {len(seen)} node(s)"
    return faults or ([Finding("model", "ok", told)] if seen else [])


def _check_model(model: str, found: dict[str, dict[str, str]]) -> list[Finding]:
    fix = (
        "put the model in a folder that all nodes see, set HF_TOKEN on the nodes for a gated one, or let the nodes "
        "reach the hub (HF_ENDPOINT for a mirror)"
    )
    faults = [
        Finding("model", "error", f"{name}: {model}: {answer[model]}", fix)
        for name, answer in found.items()
        if answer[model]
    ]
    return faults or [Finding("model", "ok", f"{model} is found by {len(found)} node(s)")]
