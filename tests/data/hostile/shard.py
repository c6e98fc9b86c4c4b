"""What every generator of hostile shards says about the shard it wrote, and the sound samples beside them."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.data.shards import picture, turns

GOOD_PICTURE = picture()
PER_SHARD = 30
"""Inputs of a shard whose container is sound."""


@dataclass(frozen=True)
class HostileShard:
    """Input i lies between the sound samples i and i + 1, whose keys are `sound-<i>`."""

    kinds: list[str]
    """Of the inputs."""
    sound: list[str] = field(default_factory=list)
    """Keys that must come through."""


def between(kinds: Sequence[str]) -> HostileShard:
    """A shard whose inputs all lie between sound samples."""
    return HostileShard(list(kinds), [f"sound-{number}" for number in range(len(kinds) + 1)])


def sound(key: str, text: bytes | None = None, image: bytes = GOOD_PICTURE) -> list[tuple[str, bytes]]:
    """The members of a sample."""
    return [
        (f"{key}.png", image),
        (f"{key}.json", json.dumps({"messages": turns()}).encode() if text is None else text),
    ]


def tar_member(name: str, content: bytes = b"", tar_format: Literal[1, 2] = tarfile.GNU_FORMAT, **fields: Any) -> bytes:
    """Headers, content and padding of a member."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field_name, value in fields.items():
        setattr(info, field_name, value)
    return info.tobuf(tar_format, "utf-8", "surrogateescape") + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def tar_of(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A whole archive."""
    return b"".join(tar_member(name, content) for name, content in members) + bytes(2 * tarfile.BLOCKSIZE)


def png_of(width: int, height: int, mode: str = "RGB") -> bytes:
    """A PNG of one colour."""
    from PIL import Image

    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()
