"""Datasets of the Hugging Face hub: from its cache where they are in it, which needs no network."""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Source
from cli_ray.evals.data.layout import chosen, complete

SCHEME = "hf://datasets/"
"""Of paths `hf://datasets/OWNER/NAME@REVISION/FILE`."""


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
    cached = [found for repo in source.ids if (found := _cached(repo, source, without))]
    for found in cached:
        if complete(found) and source.config != "*":
            return found
    faults = []
    for repo in source.ids:
        try:
            if found := _listed(repo, source, without):
                return found
            faults.append(f"{repo}: no files of the split {source.split!r}")
        except Exception as error:  # of the hub's own, of its HTTP library, of the network: all mean it is not there
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            faults.append(f"{repo}: {first_line}")
    for found in cached:
        if complete(found) is not False:
            return found
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


def _listed(repo: str, source: Source, without: tuple[str, ...]) -> list[str]:
    info = HfApi().dataset_info(repo)
    names = [one.rfilename for one in info.siblings or ()]
    try:
        card = _text(Path(hf_hub_download(repo, "README.md", repo_type="dataset", revision=info.sha)))
    except EntryNotFoundError:
        card = ""
    found = chosen(names, source.config, source.split, card, without)
    return [f"{SCHEME}{repo}@{info.sha}/{name}" for name in found]


def _cached(repo: str, source: Source, without: tuple[str, ...]) -> list[str]:
    """Paths of the files of a split in the newest revision in the cache."""
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")
    main = folder / "refs" / constants.DEFAULT_REVISION
    snapshots = sorted((folder / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
    # Files that were asked for by revision, as here, leave no reference to the main branch.
    named = [path for path in snapshots if main.is_file() and path.name == main.read_text().strip()]
    for snapshot in (named or snapshots)[-1:]:
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
        found = chosen(names, source.config, source.split, _text(snapshot / "README.md"), without)
        return [f"{SCHEME}{repo}@{snapshot.name}/{name}" for name in found]
    return []


def _split(path: str) -> tuple[str, str, str]:
    repo, _, rest = path.removeprefix(SCHEME).partition("@")
    revision, _, name = rest.partition("/")
    return repo, revision, name


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if os.path.isfile(path) else ""
