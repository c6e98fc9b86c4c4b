"""Files of samples as lmms-eval 0.7.3 writes them: by its own code, on the bundled items.

Its evaluator imports all of its models, so the functions that make and save a sample are taken out of its source.
"""

import ast
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

from cli_ray.evals.benchmark import Doc
from tests.evals import oracle

TASKS = {
    "ai2d": "ai2d/ai2d.yaml",
    "chartqa": "chartqa/chartqa.yaml",
    "cv_bench": "cv_bench/cv_bench.yaml",
    "docvqa_val": "docvqa/docvqa_val.yaml",
    "gqa": "gqa/gqa.yaml",
    "hallusion_bench_image": "hallusion_bench/hallusion_bench_image.yaml",
    "mmbench_en_dev": "mmbench/mmbench_en_dev.yaml",
    "mme": "mme/mme.yaml",
    "mmmu_val": "mmmu/mmmu_val.yaml",
    "mmstar": "mmstar/mmstar.yaml",
    "mmvp": "mmvp/mmvp.yaml",
    "ocrbench": "ocrbench/ocrbench.yaml",
    "pope": "pope/pope.yaml",
    "realworldqa": "realworldqa/realworldqa.yaml",
    "scienceqa_img": "scienceqa/scienceqa_img.yaml",
    "seedbench": "seedbench/seedbench.yaml",
    "textvqa_val": "textvqa/textvqa_val.yaml",
    "vizwiz_vqa_val": "vizwiz_vqa/vizwiz_vqa_val.yaml",
    "vqav2_val": "vqav2/vqav2_val.yaml",
    "vstar_bench": "vstar_bench/vstar_bench.yaml",
}
"""Task files, by task, of those that rules score."""
DATE = "20261127_101500"


def write_samples(
    folder: Path, task: str, docs: Sequence[Doc], replies: Mapping[int, str | list[str]], model: str = "llava-hf/llava"
) -> Path:
    """Writes a results file and the samples of a task, and gives the path of the latter.

    Args:
        folder: the `--output_path`.
        task: its name.
        docs: of the split.
        replies: by row; several of a row are those of `--repeats`.
        model: as in `--model_args pretrained=...`.
    """
    made = [_sample(TASKS[task], row, docs[row], reply) for row, reply in replies.items()]
    tracker = _loaded()[0](output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args("hf", f"pretrained={model}", "", "", False)
    tracker.save_results_aggregated({"results": {}}, {task: made}, DATE)
    tracker.save_results_samples(task, made)
    return folder / model.replace("/", "__") / f"{DATE}_samples_{task}.jsonl"


def _sample(path: str, row: int, doc: Doc, reply: str | list[str]) -> dict[str, Any]:
    """What its evaluator keeps of an item, after the filters of the task."""
    settings = oracle.settings(path)
    prompt = _called(path, settings["doc_to_text"], doc, settings.get("lmms_eval_specific_kwargs"))
    filtered = _filtered(path, settings, reply, doc)
    request = SimpleNamespace(
        args=(prompt, dict(settings.get("generation_kwargs", {})), None, row, settings["task"], "test"),
        resps=[reply] if isinstance(reply, str) else reply,
        filtered_resps={"none": filtered},
        raw_filtered_resps={},
        token_counts=[],
        doc=dict(doc),
    )
    task = SimpleNamespace(
        config=SimpleNamespace(repeats=1),
        process_results=lambda doc, results: {"score": 1.0},
        doc_to_target=lambda doc: _target(path, settings, doc),
    )
    process = _evaluator()["_process_document_results"]
    item = (row, doc, [request])
    tags = None if isinstance(reply, list) else oracle._reasoning_tags()
    logged = process(item, task=task, filter_key="none", reasoning_tags=tags, log_samples=True).logged_sample
    return dict(logged)


def _target(path: str, settings: Mapping[str, Any], doc: Doc) -> Any:
    """As `doc_to_target` of its tasks: a column, a function, or else the text itself."""
    target = settings["doc_to_target"]
    if target in doc:
        return doc[target]
    if not target.startswith("utils."):
        return target
    return _called(path, target, doc, settings.get("model_specific_target_kwargs"))


def _called(path: str, name: str, doc: Doc, settings: Mapping[str, Any] | None) -> Any:
    """A function of a task, which takes the settings of a model only if the task has some."""
    function: Callable[..., Any] = _functions(path, name)
    return function(dict(doc)) if settings is None else function(dict(doc), settings.get("default"))


def _filtered(path: str, settings: Mapping[str, Any], reply: str | list[str], doc: Doc) -> str | list[str]:
    (first, *_) = settings.get("filter_list", [{"filter": []}])[0]["filter"] or [{"function": ""}]
    if not first["function"].startswith("utils.") or isinstance(reply, list):
        return reply
    arguments = {name: value for name, value in first.items() if name != "function"}
    return str(_functions(path, first["function"])(**arguments).apply([[reply]], [doc])[0][0])


def _functions(path: str, name: str) -> Any:
    module, _, function = name.rpartition(".")
    return getattr(oracle.load(f"tasks.{path.partition('/')[0]}.{module}"), function)


@cache
def _evaluator() -> dict[str, Any]:
    """The functions of its evaluator that make a sample, and all that these call."""
    source = (oracle.root() / "evaluator.py").read_text()
    wanted = {"_ProcessedDocument", "_process_document_results", "_collect_input_media", "_extract_image_sources"}
    wanted |= {"_append_image_source", "_guess_image_mime", "_looks_like_image_ref", "IMAGE_EXTENSIONS"}
    parts = [part for part in ast.parse(source).body if _name(part) in wanted]
    _, utils = _loaded()
    scope: dict[str, Any] = {
        name: getattr(utils, name) for name in ("handle_non_serializable", "hash_string", "is_multimodal_content")
    }
    exec(
        "import base64, json, mimetypes\nfrom dataclasses import dataclass\nfrom typing import *\nTask = object", scope
    )
    scope["strip_reasoning_tags"] = oracle.load("api.reasoning").strip_reasoning_tags
    exec(compile(ast.Module(parts, []), "evaluator.py", "exec"), scope)
    return scope


def _name(part: ast.stmt) -> str:
    """Of a function, a class or a constant."""
    target = part.targets[0] if isinstance(part, ast.Assign) else part
    return str(getattr(target, "name", getattr(target, "id", "")))


@cache
def _loaded() -> tuple[Any, Any]:
    """Its class that writes files, and the module of small functions; what they import and do not need is stubbed."""
    package = ModuleType("lmms_eval.loggers")
    package.__path__ = [str(oracle.root() / "loggers")]
    oracle.load("api.reasoning")
    stubs = {name: MagicMock() for name in ("datasets", "datasets.utils", "datasets.utils.metadata", "pytz")}
    with patch.dict(sys.modules, stubs | {"lmms_eval.loggers": package}):
        utils = import_module("lmms_eval.utils")
        return import_module("lmms_eval.loggers.evaluation_tracker").EvaluationTracker, utils
