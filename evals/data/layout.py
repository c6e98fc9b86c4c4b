"""Which files of a dataset folder hold a configuration and a split, by its card or by how they are named."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from huggingface_hub import DatasetCard

SUFFIXES = (".parquet", ".jsonl")
_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "testdev", "testmini", "eval")
_BORDERS = (r"[-./]", r"[-./_ 0-9]")
"""Of a split's name within a path, the strict ones first: `test` is in `test_2d`, unless there is `test-0`."""


def chosen(names: Iterable[str], config: str, split: str, card: str = "", without: Sequence[str] = ()) -> list[str]:
    """The files of a split, sorted.

    Args:
        names: of files, relative to the dataset's folder.
        config: folder or configuration; `*` for all, empty for the default one.
        split: its name.
        card: text of the dataset's README, whose head may say which files are which.
        without: folders with something else.
    """
    tables = sorted(name for name in names if name.endswith(SUFFIXES) and not set(name.split("/")[:-1]) & set(without))
    patterns = _patterns(_configs(card), config, split)
    named = [name for name in tables if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return named or _of_split(_of_config(tables, config), split)


def complete(names: Sequence[str]) -> bool | None:
    """Whether all of the files named as `...-00001-of-00003.parquet` are there; None if some are named otherwise."""
    shards = [re.fullmatch(r"(.*)-\d+-of-(\d+)(?:-\w+)?\.\w+", name) for name in names]
    found = Counter((shard[1], int(shard[2])) for shard in shards if shard)
    if any(count != wanted for (_, wanted), count in found.items()):
        return False
    return True if all(shards) else None


def _of_config(names: list[str], config: str) -> list[str]:
    below = [name for name in names if config in name.split("/")[:-1]]
    return below or names


def _of_split(names: list[str], split: str) -> list[str]:
    """Those that name the split; if none does, those that name no other."""
    for border in _BORDERS:
        if found := [name for name in names if _names(name, split, border)]:
            return found
    return [name for name in names if not any(_names(name, other, _BORDERS[1]) for other in _SPLITS)]


def _names(path: str, split: str, border: str) -> bool:
    return re.search(f"(?:^|{border}){re.escape(split)}(?:{border}|$)", path) is not None


def _configs(card: str) -> list[dict[str, Any]]:
    """What a card says of configurations; nothing when its head cannot be read."""
    try:
        listed = DatasetCard(card).data.get("configs") if card.startswith("---") else None
    except Exception:  # of whatever YAML library: the names of the files must do then
        return []
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _patterns(configs: list[dict[str, Any]], config: str, split: str) -> list[str]:
    """The globs that a card gives for a split."""
    if not config:
        defaults = [one for one in configs if one.get("default") or one.get("config_name") == "default"]
        configs = defaults or (configs if len(configs) == 1 else [])
    elif config != "*":
        configs = [one for one in configs if one.get("config_name") == config]
    files = [one.get("data_files") for one in configs]
    entries = [entry for each in files if isinstance(each, list) for entry in each if isinstance(entry, dict)]
    paths = [entry.get("path") for entry in entries if entry.get("split") == split]
    return [path for each in paths for path in (each if isinstance(each, list) else [each]) if isinstance(path, str)]
