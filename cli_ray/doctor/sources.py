"""Checks of what a run reads: data and model are there, on every node, before a run looks for them.

Called by the examination. No weights are downloaded.
"""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache

from cli_ray.config import ModelConfig, RunConfig
from cli_ray.doctor.cluster import on_every_node, silent_nodes
from cli_ray.doctor.finding import Finding
from cli_ray.errors import UserError
from cli_ray.storage.files import list_files
from cli_ray.text import counted, first_line

HUB_S = 10.0
"""Seconds in which the hub must answer."""


def check_sources(config: RunConfig, timeout_s: float) -> list[Finding]:
    """Whether every node finds the shards, the same number of them, and can load what the model comes with.

    Args:
        config: of the run to come, with absolute paths.
        timeout_s: seconds for each question, over all nodes.
    """
    sources = {source.label: source.path for source in (*config.data.sources, *config.validation.sources)}
    counts = on_every_node(count_files, sources, timeout_s=timeout_s)
    findings = [finding for label, path in sources.items() for finding in _check_files(label, path, counts.by_node)]
    models = model_names(config.model)
    if models:
        faults = on_every_node(find_models, models, config.model.revision, timeout_s=timeout_s)
        of_models = [finding for model in models for finding in _check_model(model, faults.by_node)]
        findings += of_models
        if any(finding.level == "error" for finding in of_models):
            return [*silent_nodes(counts), *findings]
    loads = on_every_node(try_model, config.model_dump(mode="json"), timeout_s=timeout_s)
    return [*silent_nodes(counts), *findings, *silent_nodes(loads), *_check_loads(loads.by_node)]


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
    except Exception as error:  # tokenizers raise all kinds for a broken file
        return f"the tokenizer or the processor cannot be loaded: {first_line(error)}"
    return ""


def model_names(model: ModelConfig) -> list[str]:
    """Folders and hub ids that are loaded; the built-in model `tiny` is none of them."""
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
    except Exception as error:  # of the hub, or of any layer of the network
        return f"no such folder, and the hub says: {first_line(error)}"
    return ""


def _check_files(label: str, path: str, by_node: dict[str, dict[str, int | str]]) -> list[Finding]:
    counts = {name: answer[label] for name, answer in by_node.items()}
    fix = "put the data where all nodes see it, or correct data.sources"
    faults = [
        Finding("data", "error", f"{name}: {fault}", fix) for name, fault in counts.items() if isinstance(fault, str)
    ]
    if faults:
        return faults
    if len(set(counts.values())) > 1:
        numbers = ", ".join(f"{count} on {name}" for name, count in counts.items())
        return [Finding("data", "error", f"{label}: nodes see different numbers of files in {path}: {numbers}", fix)]
    files = next(iter(counts.values()), None)
    return [Finding("data", "ok", f"{label}: {counted(files, 'file')} in {path}")] if isinstance(files, int) else []


def _check_loads(by_node: dict[str, str]) -> list[Finding]:
    faults = [
        Finding("model", "error", f"{name}: {fault}", "correct the model section, or the file that is named")
        for name, fault in by_node.items()
        if fault
    ]
    what = f"config, tokenizer and processor load on {counted(len(by_node), 'node')}"
    return faults or ([Finding("model", "ok", what)] if by_node else [])


def _check_model(model: str, by_node: dict[str, dict[str, str]]) -> list[Finding]:
    fix = (
        "put the model in a folder that all nodes see, set HF_TOKEN on the nodes for a gated one, or let the nodes "
        "reach the hub (HF_ENDPOINT for a mirror)"
    )
    faults = [
        Finding("model", "error", f"{name}: {model}: {answer[model]}", fix)
        for name, answer in by_node.items()
        if answer[model]
    ]
    return faults or [Finding("model", "ok", f"{model} is found by {counted(len(by_node), 'node')}")]
