"""Where the items of a benchmark lie that names its own data: tables, a folder of pictures, or a file of the hub.

`cli_ray.evals.items.sources` asks; what the files hold is told by their endings.
"""

import re
from typing import Literal

from pyarrow import fs

from cli_ray.errors import UserError
from cli_ray.evals.items import hub
from cli_ray.evals.items.location import split_query
from cli_ray.evals.items.tables import SUFFIXES
from cli_ray.storage.files import list_files, resolve

_METADATA = "metadata"
"""Name of the table that a folder of pictures has, where it has several."""
_WILD = re.compile(r"[*?\[{]")


def find(data: str) -> tuple[Literal["folder", "hub"], str, list[str]]:
    """What is at a path: how it is reached, the folder that names of images are relative to, and the paths to read.

    Args:
        data: a path, glob or pyarrow URI, or `hf://datasets/OWNER/NAME@REVISION/FILE`.

    Raises:
        UserError: there is no table and no picture, or there are several tables and none is named.
    """
    if data.startswith(hub.SCHEME):
        return "hub", data, [hub.pinned(data)]
    try:
        filesystem, inner = resolve(data)
        is_folder = filesystem.get_file_info(inner).type == fs.FileType.Directory
    except (OSError, ValueError) as error:
        raise UserError(f"it cannot be reached: {error}") from error
    if is_folder:
        return "folder", data.rstrip("/"), [_in_folder(data.rstrip("/"))]
    try:
        paths = [shard.path for shard in list_files(data)]
    except UserError as error:
        raise UserError("there is no such file or folder") from error
    if others := [path for path in paths if not _is_table(path)]:
        raise UserError(f"{others[0]} is no table: its name must end in {', '.join(SUFFIXES)}")
    base, query = split_query(data)
    above = base if paths == [data] else _WILD.split(base)[0]
    return "folder", above.rpartition("/")[0] + query, paths


def _in_folder(folder: str) -> str:
    """The table of a folder; the folder itself, with a slash, where it has pictures by classes."""
    base, query = split_query(folder)
    try:
        names = [split_query(shard.path)[0].removeprefix(f"{base}/") for shard in list_files(folder)]
    except UserError as error:
        raise UserError("the folder is empty or cannot be read") from error
    tables = [name for name in names if "/" not in name and _is_table(name)]
    named = [name for name in tables if name.partition(".")[0] == _METADATA]
    if found := named or tables:
        if len(found) > 1:
            raise UserError(f"the folder has several tables, such as {found[0]} and {found[1]}: name one, or a glob")
        return f"{base}/{found[0]}{query}"
    return f"{base}/{query}"


def _is_table(path: str) -> bool:
    return split_query(path)[0].lower().endswith(SUFFIXES)
