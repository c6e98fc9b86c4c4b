"""lmms-eval 0.7.3 as an oracle: its scorers are imported without its package code, which would load torch and more.

Installed with `pip install --no-deps lmms-eval==0.7.3`; tests that need it are skipped without.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

VERSION = "0.7.3"
_HOLLOW = ("lmms_eval", "lmms_eval.tasks", "lmms_eval.api", "lmms_eval.filters")
"""Packages whose own code is left out; their modules are found all the same."""
_STUBS = ("datasets", "evaluate", "sacrebleu", "openai", "lmms_eval.api.model")
"""Imported by modules we need, and not needed by the functions we call."""


def need() -> None:
    """Skips the test module unless the oracle is installed."""
    try:
        found = importlib.metadata.version("lmms-eval")
    except importlib.metadata.PackageNotFoundError:
        found = ""
    if found != VERSION:
        pytest.skip(f"needs lmms-eval {VERSION}, installed with --no-deps", allow_module_level=True)


@cache
def load(name: str) -> Any:
    """A module of lmms-eval by its name behind `lmms_eval.`, such as `tasks.textvqa.utils`; hyphens may be in it."""
    from loguru import logger

    logger.disable("lmms_eval")  # it tells every reply
    with _stubs():
        return importlib.import_module(f"lmms_eval.{name}")


@cache
def root() -> Path:
    """The folder of the installed package."""
    spec = importlib.util.find_spec("lmms_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@contextmanager
def _stubs() -> Iterator[None]:
    """Empty packages for good, and stubs and a key for judges' clients while modules are imported."""
    base = root()
    for name in _HOLLOW:
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(base.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
    before = {name: sys.modules.get(name) for name in _STUBS}
    key = os.environ.get("OPENAI_API_KEY")
    try:
        sys.modules.update({name: MagicMock(name=name) for name in _STUBS})
        os.environ["OPENAI_API_KEY"] = "none"
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        os.environ.pop("OPENAI_API_KEY") if key is None else os.environ.update(OPENAI_API_KEY=key)


def without_reasoning(reply: str) -> str:
    """A reply as the harness hands it to a task, by the default of its flag `--reasoning_tags`."""
    return str(load("api.reasoning").strip_reasoning_tags(reply, _reasoning_tags()))


@cache
def _reasoning_tags() -> list[list[str]]:
    flag = r'"--reasoning_tags",\s+type=str,\s+default=\'(.+?)\''
    found = re.search(flag, (root() / "__main__.py").read_text())
    assert found
    tags: list[list[str]] = json.loads(found[1])
    return tags


class _Loader(yaml.SafeLoader):
    """Reads task files, whose `!function` marks become text."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


@cache
def settings(path: str) -> dict[str, Any]:
    """A task file below `tasks`, such as `ai2d/ai2d.yaml`, with what it includes."""
    file = root() / "tasks" / path
    own: dict[str, Any] = yaml.load(file.read_text(), _Loader)
    included = own.pop("include", None)
    return (settings(str(Path(path).parent / included)) if included else {}) | own


def kwargs(path: str) -> dict[str, Any]:
    """The prompt settings of a task file for models without settings of their own."""
    return dict(settings(path).get("lmms_eval_specific_kwargs", {}).get("default", {}))


def max_new_tokens(path: str) -> int:
    """What a task file, or silently the model classes, allow a reply to take."""
    return int(settings(path).get("generation_kwargs", {}).get("max_new_tokens", 1024))
