"""Pickles that would write a file when they are loaded, wherever a dataset could hide one."""

import io
import pickle
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.hostile.shard import HostileShard, sound, tar_of

MARKER = "sprung"
"""The file, in the folder above the data."""
_ENDINGS = ("pkl", "pickle", "pyd", "pth", "npy", "png", "json", "txt", "cls")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "sprung")


def pickled(path: Path, random: Random) -> bytes:
    """A trap in one of the protocols, alone or as the array of a .npy file."""
    if random.random() < 0.2:
        file = io.BytesIO()
        np.save(file, np.array([Trap(path)], dtype=object), allow_pickle=True)
        return file.getvalue()
    return pickle.dumps(Trap(path), protocol=random.randrange(pickle.HIGHEST_PROTOCOL + 1))


def hostile_pickle(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes a shard with a trap, in each place in turn."""
    payload = pickled(folder.parent / MARKER, random)
    match ("member", "image column", "text column", "object column", "file")[turn % 5]:
        case "member":
            ending = _ENDINGS[turn // 5 % len(_ENDINGS)]
            others = [member for member in sound("bad") if not member[0].endswith(ending)]
            members = [*sound("sound-0"), (f"bad.{ending}", payload), *others, *sound("sound-1")]
            (folder / "x.tar").write_bytes(tar_of(members))
            return HostileShard([f"pickle, tar member .{ending}"], ["sound-0", "sound-1"])
        case "image column":
            pq.write_table(pa.table({"images": [[payload]], "caption": ["x"]}), folder / "x.parquet")
            return HostileShard(["pickle, column of images"])
        case "text column":
            pq.write_table(pa.table({"messages": [payload], "images": [[b""]]}), folder / "x.parquet")
            return HostileShard(["pickle, column of messages"])
        case "object column":
            pq.write_table(pa.table({"images": _objects(payload), "caption": ["x"]}), folder / "x.parquet")
            return HostileShard(["pickle, column of objects"])
    ending = ("arrow", "json", "jsonl", "parquet", "tar")[turn // 5 % 5]
    if ending == "arrow":
        (folder / "state.json").write_text('{"_data_files": [{"filename": "x.arrow"}]}')
    (folder / f"x.{ending}").write_bytes(payload)
    return HostileShard([f"pickle, file .{ending}"])


def _objects(payload: bytes) -> pa.Array:
    """A column as Ray Data writes Python objects."""
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), pa.array([payload], pa.large_binary()))
