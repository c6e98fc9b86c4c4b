"""The steps in wandb's own files of a run: what a start of it that was killed has left there. For `services`.

A file is a log as LevelDB's (doc/log_format.md there): after 7 bytes of its own, blocks of pieces, each with a
checksum, a length and a kind before its content; what they hold are `Record`s of wandb's protocol.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEAD = 32768, 7
"""Bytes of a block, and of the head of the file and of each piece."""
_WHOLE, _LAST = 1, 4
"""Kinds of pieces that end a record."""


def last_step(folder: Path, id_: str) -> int:
    """The last step of a run in the files of its starts; 0 without any.

    wandb writes its file every few seconds, so that it may lack what was logged just before a kill.

    Args:
        folder: `dir` of wandb.
        id_: of the run.
    """
    for file in sorted(folder.glob(f"wandb/*run-*-{id_}*/*.wandb"), reverse=True):
        steps = [int(record.history.step.num) for record in records(file) if record.HasField("history")]
        if steps:
            return max(steps)
    return 0


def records(file: Path) -> Iterator[Any]:
    """The records of a file, up to one that was cut."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    try:
        yield from map(Record.FromString, _contents(file.read_bytes()))
    except DecodeError:
        return


def _contents(content: bytes) -> Iterator[bytes]:
    place, record = _HEAD, b""
    while place + _HEAD <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:  # too small for a piece, and filled up
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + _HEAD])
        record += content[place + _HEAD : place + _HEAD + length]
        place += _HEAD + length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""
