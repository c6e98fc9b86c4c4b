"""Datasets of the Hugging Face hub: which of their files hold a split, and those files, from its cache or the network.

`cli_ray.evals.items.sources` asks which files there are, also of folders that are laid out like a dataset;
`cli_ray.evals.items.tables` opens them. What is in the cache needs no network.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, HfApi, HfFileSystem, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Source
from cli_ray.text import first_line

SCHEME = "hf://datasets/"
"""Of paths `hf://datasets/OWNER/NAME@REVISION/FILE`."""
SUFFIXES = (".parquet", ".jsonl")
_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "testdev", "testmini", "eval")
_BORDERS = (r"[-./]", r"[-./_ 0-9]")
"""Of a split's name within a path, the strict ones first: `test` is in `test_2d`, unless there is `test-0`."""


def find(source: Source, without: tuple[str, ...] = ()) -> list[str]:
    """Paths of the files of a split.

    Taken from the cache, under any of the ids, if the names of the files say that they are all; else as the hub lists
    them; and from the cache again if the hub cannot be asked.

    Args:
        source: the split.
        without: folders that hold something else.

    Raises:
        UserError: it is not in the cache, and the hub cannot be reached or has no such files.
    """
    cached = [paths for repo in source.ids if (paths := _cached(repo, source, without))]
    for paths in cached:
        if has_all_shards(paths) and source.config != "*":
            return paths
    faults = []
    for repo in source.ids:
        try:
            if paths := _listed(repo, source, without):
                return paths
            faults.append(f"{repo}: no files of the split {source.split!r}")
        except Exception as error:  # of the hub's own, of its HTTP library, of the network: all mean it is not there
            faults.append(f"{repo}: {first_line(error)}")
    for paths in cached:
        if has_all_shards(paths) is not False:
            return paths
    raise UserError("not whole in the Hugging Face cache, and not to be had from the hub: " + "; ".join(faults))


def local(path: str) -> str:
    """The file behind a path of the hub, downloaded into the cache if it is not there.

    Raises:
        OSError: it cannot be had.
    """
    repo, revision, name = _split(path)
    try:
        return hf_hub_download(repo, name, repo_type="dataset", revision=revision)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise OSError(f"{repo} cannot be downloaded from the hub: {error}") from error


def open_remote(path: str) -> Any:
    """A file to read a little of: from the cache, else over the network without downloading it all."""
    repo, revision, name = _split(path)
    try:
        return open(hf_hub_download(repo, name, repo_type="dataset", revision=revision, local_files_only=True), "rb")
    except LocalEntryNotFoundError:
        return HfFileSystem().open(f"datasets/{repo}@{revision}/{name}", "rb", block_size=1 << 20)


def pinned(path: str) -> str:
    """The path of a file of the hub with the commit that its revision, the main branch without one, names now.

    Raises:
        UserError: it is no path of a file, or the hub has no such file.
    """
    match = re.fullmatch(rf"{re.escape(SCHEME)}([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", path)
    if match is None:
        raise UserError(f"give {SCHEME}OWNER/NAME/FILE or {SCHEME}OWNER/NAME@REVISION/FILE")
    repo, revision, name = match.groups()
    try:
        local_file = Path(hf_hub_download(repo, name, repo_type="dataset", revision=revision))
    except Exception as error:  # of the hub's own, of its HTTP library, of the network: all mean it is not there
        raise UserError(
            f"not in the Hugging Face cache, and not to be had from the hub: {first_line(error)}"
        ) from error
    # .../snapshots/COMMIT/FILE
    return f"{SCHEME}{repo}@{local_file.parents[name.count('/')].name}/{name}"


def files_of(names: Iterable[str], config: str, split: str, card: str = "", without: Sequence[str] = ()) -> list[str]:
    """The files of a split, sorted: those that the dataset's card says, else those that are named like it.

    Args:
        names: of files, relative to the dataset's folder.
        config: folder or configuration; `*` for all, empty for the default one.
        split: its name.
        card: text of the dataset's README, whose head may say which files are which.
        without: folders with something else.
    """
    tables = sorted(name for name in names if name.endswith(SUFFIXES) and not set(name.split("/")[:-1]) & set(without))
    patterns = _patterns(_configs(card), config, split)
    by_card = [name for name in tables if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return by_card or _of_split(_of_config(tables, config), split)


def has_all_shards(names: Sequence[str]) -> bool | None:
    """Whether all of the files named as `...-00001-of-00003.parquet` are there; None if some are named otherwise."""
    shards = [re.fullmatch(r"(.*)-\d+-of-(\d+)(?:-\w+)?\.\w+", name) for name in names]
    counts = Counter((shard[1], int(shard[2])) for shard in shards if shard)
    if any(count != wanted for (_, wanted), count in counts.items()):
        return False
    return True if all(shards) else None


def _listed(repo: str, source: Source, without: tuple[str, ...]) -> list[str]:
    """Paths of the files of a split as the hub lists them."""
    info = HfApi().dataset_info(repo)
    names = [file.rfilename for file in info.siblings or ()]
    try:
        card = _text(Path(hf_hub_download(repo, "README.md", repo_type="dataset", revision=info.sha)))
    except EntryNotFoundError:
        card = ""
    of_split = files_of(names, source.config, source.split, card, without)
    return [f"{SCHEME}{repo}@{info.sha}/{name}" for name in of_split]


def _cached(repo: str, source: Source, without: tuple[str, ...]) -> list[str]:
    """Paths of the files of a split in the newest revision in the cache."""
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")
    main = folder / "refs" / constants.DEFAULT_REVISION
    snapshots = sorted((folder / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
    # Files that were asked for by revision, as here, leave no reference to the main branch.
    named = [path for path in snapshots if main.is_file() and path.name == main.read_text().strip()]
    for snapshot in (named or snapshots)[-1:]:
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
        of_split = files_of(names, source.config, source.split, _text(snapshot / "README.md"), without)
        return [f"{SCHEME}{repo}@{snapshot.name}/{name}" for name in of_split]
    return []


def _configs(card: str) -> list[dict[str, Any]]:
    """What a card says of configurations; nothing when its head cannot be read."""
    try:
        configs = DatasetCard(card).data.get("configs") if card.startswith("---") else None
    except Exception:  # of whatever YAML library: the names of the files must do then
        return []
    return [config for config in configs if isinstance(config, dict)] if isinstance(configs, list) else []


def _patterns(configs: list[dict[str, Any]], name: str, split: str) -> list[str]:
    """The globs that a card gives for a split of the configuration `name`."""
    if not name:
        defaults = [config for config in configs if config.get("default") or config.get("config_name") == "default"]
        configs = defaults or (configs if len(configs) == 1 else [])
    elif name != "*":
        configs = [config for config in configs if config.get("config_name") == name]
    files = [config.get("data_files") for config in configs]
    entries = [entry for each in files if isinstance(each, list) for entry in each if isinstance(entry, dict)]
    paths = [entry.get("path") for entry in entries if entry.get("split") == split]
    return [path for each in paths for path in (each if isinstance(each, list) else [each]) if isinstance(path, str)]


def _of_config(names: list[str], config: str) -> list[str]:
    below = [name for name in names if config in name.split("/")[:-1]]
    return below or names


def _of_split(names: list[str], split: str) -> list[str]:
    """Those that name the split; if none does, those that name no other."""
    for border in _BORDERS:
        if named := [name for name in names if _names(name, split, border)]:
            return named
    return [name for name in names if not any(_names(name, other, _BORDERS[1]) for other in _SPLITS)]


def _names(path: str, split: str, border: str) -> bool:
    return re.search(f"(?:^|{border}){re.escape(split)}(?:{border}|$)", path) is not None


def _split(path: str) -> tuple[str, str, str]:
    """Repository, revision and name of a path."""
    repo, _, rest = path.removeprefix(SCHEME).partition("@")
    revision, _, name = rest.partition("/")
    return repo, revision, name


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if os.path.isfile(path) else ""
