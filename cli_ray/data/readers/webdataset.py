"""Webdataset tar: members that share a name up to its first dot are one sample."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyarrow import NativeFile

from cli_ray.data.conversation import IMAGE_KEYS, MAX_BYTES, TEXT_KEYS, Record, parse
from cli_ray.data.fields import is_empty, is_media_file
from cli_ray.data.images import Limits
from cli_ray.data.readers.members import IMAGES, NOT_READ, Name, images_in_order, unread_member
from cli_ray.data.readers.reader import Span
from cli_ray.data.readers.tar import BLOCK, Member, members
from cli_ray.data.sample import BadDataError
from cli_ray.storage.files import Shard, open_file

TEXTS = ("json", "txt")
MAX_MEMBERS = 10_000
"""Of one sample; more of one key are a sample of their own, so that a walk keeps few of them."""
APART = (
    "the members of a sample share their names up to the first dot and are neighbours in the tar; where they are "
    "apart, unpack it and pack it sorted: tar --sort=name -cf sorted.tar FOLDER"
)


@dataclass(slots=True)
class _Group:
    """The members of one sample; of a damaged stretch, that alone."""

    key: str
    members: list[Member]
    """Images and texts."""
    others: list[Member] = field(default_factory=list)
    """What stands before and between them and is neither."""

    @property
    def start(self) -> int:
        return min(member.start for member in (*self.members[:1], *self.others[:1]))

    @property
    def end(self) -> int:
        return max(member.end for member in (*self.members[-1:], *self.others[-1:]))


class Webdataset:
    """Images (.jpg, .png, .webp, .gif, ...), and a .json or a .txt caption.

    A .json with `messages` or `conversations` comes first, then the .txt, then the caption in the .json. Several images
    come in the order in which the .json names them, else by their numbers. Members with other endings are never
    opened, and names that start with a dot are left out.
    """

    suffixes: tuple[str, ...] = (".tar",)
    names_images: bool = False

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Byte ranges of whole groups; what may have swallowed others is a span of its own."""
        with open_file(shard.path) as file:
            count, start, end = 0, 0, 0
            for group in _groups(members(file, 0, shard.size)):
                if damage := _damage(file, group, shard.size):
                    if count:
                        yield Span(start, end, count)
                    yield Span(group.start, group.end, 1, damage=damage)
                    count = 0
                    continue
                if not count:
                    start = group.start
                count, end = count + 1, group.end
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
                unread = [unread_member(member) for member in group.others]
                try:
                    content, left = _record(file, group, limits)
                    unread += [unread_member(member) for member in left]
                except BadDataError as error:
                    content = error
                yield Record(where, group.key, content, tuple(unread))


def _groups(found: Iterable[Member]) -> Iterator[_Group]:
    """Runs of members with one key; a damaged stretch stands alone."""
    group: _Group | None = None
    pending: deque[Member] = deque(maxlen=MAX_MEMBERS)
    for member in map(_nameless, found):
        name = Name.of(member)
        if member.name and name.ending not in (*IMAGES, *TEXTS):
            is_own = group is not None and not pending and name.key == group.key and len(group.others) < MAX_MEMBERS
            (group.others if group is not None and is_own else pending).append(member)
            continue
        if group is not None and member.name and name.key == group.key and len(group.members) < MAX_MEMBERS:
            group.members.append(member)
            group.others += pending
        else:
            if group is not None:
                yield group
            group = _Group(name.key, [member], list(pending))
        pending.clear()
    if group is not None:
        group.others += pending
        yield group


def _nameless(member: Member) -> Member:
    """A member as it is, or as a damaged stretch where it is not read itself but others may lie in it."""
    if Name.of(member).ending in (*IMAGES, *TEXTS) or not member.may_swallow:
        return member
    return replace(member, name="", problem=f"{member.name}: {member.problem}" if member.name else member.problem)


def _damage(file: NativeFile, group: _Group, size: int) -> Literal["stretch", "cut"] | None:
    """Whether others may be lost with a group: those that lie in its last member, or all that followed."""
    last = group.members[-1]
    if not last.may_swallow:
        return None
    ends = last.end < size or not any(file.read_at(BLOCK, max(0, size - BLOCK)))  # zero blocks end an archive
    return "stretch" if ends else "cut"


def _record(file: NativeFile, group: _Group, limits: Limits) -> tuple[dict[str, Any], list[Member]]:
    """The record of a group, and its members that were not read."""
    for member in group.members:
        if member.problem:
            raise BadDataError("broken shard", f"{member.name or 'tar header'}: {member.problem}")
    _check_others(group)
    texts = [member for member in group.members if Name.of(member).suffix in TEXTS]
    by_ending = {Name.of(member).suffix: member for member in texts}
    if len(texts) != len(by_ending):
        shown = ", ".join(member.name for member in texts)
        raise BadDataError("broken record", f"more than one .json or .txt of a sample: {shown}")
    if not texts:
        shown = ", ".join(member.name for member in group.members[:5])
        raise BadDataError("wrong columns", f"no .json or .txt of sample {group.key!r}, only {shown}: {APART}")
    record = _read_json(_read_bounded(file, by_ending.pop("json"))) if "json" in by_ending else {}
    found = [member for member in group.members if Name.of(member).ending in IMAGES]
    images = images_in_order(found, _names(record))
    has_turns = any(not is_empty(record.get(key)) for key in TEXT_KEYS if key != "caption")
    if "txt" in by_ending and not has_turns:
        record["caption"] = _read_text(_read_bounded(file, by_ending.pop("txt")))
    if not images and (any(not is_empty(record.get(key)) for key in IMAGE_KEYS) or not has_turns):
        raise BadDataError("missing image", f"no image of sample {group.key!r} stands beside its text: {APART}")
    limits.check_bytes("images", [member.size for member in images])
    for key in IMAGE_KEYS:
        record.pop(key, None)
    read = {member.start for member in (*images, *texts)} - {member.start for member in by_ending.values()}
    left = [member for member in group.members if member.start not in read]
    return {**record, "images": [_read(file, member) for member in images]}, left


def _check_others(group: _Group) -> None:
    """Refuses (BadDataError) a sample with what is no image that can be read."""
    for member in group.others:
        name = Name.of(member)
        if name.key == group.key and (name.ending in NOT_READ or is_media_file(member.name)):
            raise BadDataError("not supported", f"{member.name}: only {', '.join(IMAGES)} are read")


def _names(record: dict[str, Any]) -> list[str]:
    """The names of images in a .json."""
    values = [record[key] for key in IMAGE_KEYS if not is_empty(record.get(key))]
    names = values[0] if values and isinstance(values[0], list) else values[:1]
    return names if all(isinstance(name, str) for name in names) else []


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
