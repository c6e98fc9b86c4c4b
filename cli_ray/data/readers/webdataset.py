"""Webdataset tar: members that share a name up to its first dot are one sample."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Literal

from pyarrow import NativeFile

from cli_ray.data.files import Shard, open_file
from cli_ray.data.images import Limits
from cli_ray.data.json_text import MAX_BYTES, parse
from cli_ray.data.readers.reader import Span
from cli_ray.data.readers.tar import BLOCK, Member, members
from cli_ray.data.record import IMAGE_KEYS, TEXT_KEYS, Record
from cli_ray.data.sample import BadDataError

IMAGES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("json", "txt")
MAX_MEMBERS = 10_000
"""Of one sample; more of one key are a sample of their own, so that a walk keeps few of them."""

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Group:
    """The members of one sample; of a damaged stretch, that alone."""

    key: str
    members: list[Member]


class Webdataset:
    """Images (.jpg, .jpeg, .png, .webp), and a .json or a .txt caption.

    A .json with `messages` or `conversations` comes first, then the .txt, then the caption in the .json.
    Members with other endings are never opened, and names that start with a dot are left out.
    """

    suffixes: tuple[str, ...] = (".tar",)

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Byte ranges of whole groups; what may have swallowed others is a span of its own."""
        with open_file(shard.path) as file:
            count, start, end = 0, 0, 0
            for group in _groups(members(file, 0, shard.size)):
                if damage := _damage(file, group, shard.size):
                    if count:
                        yield Span(start, end, count)
                    yield Span(group.members[0].start, group.members[-1].end, 1, damage=damage)
                    count = 0
                    continue
                if not count:
                    start = group.members[0].start
                count, end = count + 1, group.members[-1].end
                if count == unit_samples:
                    yield Span(start, end, count)
                    count = 0
            if count:
                yield Span(start, end, count)

    def records(self, path: str, span: Span, limits: Limits) -> Iterator[Record]:
        """One record per group, with `images` as bytes."""
        with open_file(path) as file:
            for group in _groups(members(file, span.start, span.end)):
                where = f"bytes {group.members[0].start}-{group.members[-1].end}"
                content: dict[str, Any] | BadDataError
                try:
                    content = _record(file, group, limits)
                except BadDataError as error:
                    content = error
                yield Record(where, group.key, content)


def _groups(found: Iterable[Member]) -> Iterator[_Group]:
    """Runs of members with one key; a damaged stretch stands alone."""
    kept = (member for member in map(_nameless, found) if not member.name or _ending(member) in (*IMAGES, *TEXTS))
    for (key, _), run in groupby(kept, lambda member: (_key(member), member.start if not member.name else 0)):
        while some := list(islice(run, MAX_MEMBERS)):
            yield _Group(key, some)


def _nameless(member: Member) -> Member:
    """A member as it is, or as a damaged stretch where it is not read itself but others may lie in it."""
    if _ending(member) in (*IMAGES, *TEXTS) or not member.may_swallow:
        return member
    return replace(member, name="", problem=f"{member.name}: {member.problem}" if member.name else member.problem)


def _damage(file: NativeFile, group: _Group, size: int) -> Literal["stretch", "cut"] | None:
    """Whether others may be lost with a group: those that lie in its last member, or all that followed."""
    last = group.members[-1]
    if not last.may_swallow:
        return None
    ends = last.end < size or not any(file.read_at(BLOCK, max(0, size - BLOCK)))  # zero blocks end an archive
    return "stretch" if ends else "cut"


def _key(member: Member) -> str:
    match = _NAME.fullmatch(member.name)
    return match[1] if match else ""


def _ending(member: Member) -> str:
    """What follows the last dot, lower case; empty for names without a key."""
    match = _NAME.fullmatch(member.name)
    return match[2].rpartition(".")[2].lower() if match else ""


def _record(file: NativeFile, group: _Group, limits: Limits) -> dict[str, Any]:
    for member in group.members:
        if member.problem:
            raise BadDataError("broken shard", f"{member.name or 'tar header'}: {member.problem}")
    by_ending = {_ending(member): member for member in group.members}
    texts = [member.name for member in group.members if _ending(member) in TEXTS]
    if len(texts) != len(by_ending.keys() & set(TEXTS)):
        raise BadDataError("broken record", f"more than one .json or .txt of a sample: {', '.join(texts)}")
    fields = _read_json(_read_bounded(file, by_ending["json"])) if "json" in by_ending else {}
    record = {key: fields[key] for key in TEXT_KEYS if fields.get(key) is not None}
    images = [member for member in group.members if _ending(member) in IMAGES]
    if not images and any(fields.get(key) for key in IMAGE_KEYS):
        raise BadDataError("missing image", "the .json names an image that the tar does not hold")
    limits.check_bytes("images", [member.size for member in images])
    if "txt" in by_ending and not ("messages" in record or "conversations" in record):
        record["caption"] = _read_text(_read_bounded(file, by_ending["txt"]))
    return {**record, "images": [_read(file, member) for member in images]}


def _read_text(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise BadDataError("broken record", f"the .txt is not UTF-8: {error}") from error


def _read_json(text: bytes) -> dict[str, Any]:
    fields = parse(text, "the .json")
    if not isinstance(fields, dict):
        raise BadDataError("broken record", f"the .json holds {type(fields).__name__}, expected an object")
    return fields


def _read_bounded(file: NativeFile, member: Member) -> bytes:
    """A text; whatever its size says, not more than JSON may have."""
    if member.size > MAX_BYTES:
        raise BadDataError("broken record", f"{member.name} has {member.size:,} bytes, a text may have {MAX_BYTES:,}")
    return _read(file, member)


def _read(file: NativeFile, member: Member) -> bytes:
    file.seek(member.data)
    return bytes(file.read(member.size))
