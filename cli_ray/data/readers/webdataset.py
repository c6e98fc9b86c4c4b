"""Webdataset tar: members that share a name up to its first dot are one sample.

What its images are, and in which order, follows from the .json where that names them, and else from their own names.
"""

import posixpath
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyarrow import NativeFile

from cli_ray.data.fields import IMAGE_KEYS, MAX_JSON_BYTES, TEXT_KEYS, is_empty, is_media_file, parse_json
from cli_ray.data.images import Limits
from cli_ray.data.readers.reader import Record, Span
from cli_ray.data.readers.tar import BLOCK, Member, members
from cli_ray.data.sample import BadDataError, Unread, clean
from cli_ray.storage.files import ReadAhead, Shard, open_file

TEXTS = ("json", "txt")
IMAGES = ("jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2")
NOT_READ = ("heic", "heif", "jxl", "ppm", "pgm", "pnm", "svg", "j2k", "jpx", "psd", "dng")
"""Endings of images that are never decoded, so that their samples are refused and not learnt without them."""

MAX_MEMBERS = 10_000
"""Of one sample; more of one key are a sample of their own, so that a walk keeps few of them."""
APART = (
    "the members of a sample share their names up to the first dot and are neighbours in the tar; where they are "
    "apart, unpack it and pack it sorted: tar --sort=name -cf sorted.tar FOLDER"
)
_NUMBERED = re.compile(r"(?:(?:image|img|page|frame)?[_-]?(\d{1,18})|image|img)\.[^.]+")
_MAX_NAME = 100


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
        with open_file(path) as opened:
            file = ReadAhead(opened, span.end)
            for group in _groups(members(file, span.start, span.end)):
                where = f"bytes {group.members[0].start}-{group.members[-1].end}"
                content: dict[str, Any] | BadDataError
                unread = [_unread(member) for member in group.others]
                try:
                    content, left = _record(file, group, limits)
                    unread += [_unread(member) for member in left]
                except BadDataError as error:
                    content = error
                yield Record(where, group.key, content, tuple(unread))


def _groups(walked: Iterable[Member]) -> Iterator[_Group]:
    """Runs of members with one key; a damaged stretch stands alone."""
    group: _Group | None = None
    pending: deque[Member] = deque(maxlen=MAX_MEMBERS)
    for member in map(_nameless, walked):
        if member.name and member.ending not in (*IMAGES, *TEXTS):
            is_own = group is not None and not pending and member.key == group.key and len(group.others) < MAX_MEMBERS
            (group.others if group is not None and is_own else pending).append(member)
            continue
        if group is not None and member.name and member.key == group.key and len(group.members) < MAX_MEMBERS:
            group.members.append(member)
            group.others += pending
        else:
            if group is not None:
                yield group
            group = _Group(member.key, [member], list(pending))
        pending.clear()
    if group is not None:
        group.others += pending
        yield group


def _nameless(member: Member) -> Member:
    """A member as it is, or as a damaged stretch where it is not read itself but others may lie in it."""
    if member.ending in (*IMAGES, *TEXTS) or not member.may_swallow:
        return member
    return replace(member, name="", problem=f"{member.name}: {member.problem}" if member.name else member.problem)


def _damage(file: NativeFile, group: _Group, size: int) -> Literal["stretch", "cut"] | None:
    """Whether others may be lost with a group: those that lie in its last member, or all that followed."""
    last = group.members[-1]
    if not last.may_swallow:
        return None
    ends = last.end < size or not any(file.read_at(BLOCK, max(0, size - BLOCK)))  # zero blocks end an archive
    return "stretch" if ends else "cut"


def _record(file: ReadAhead, group: _Group, limits: Limits) -> tuple[dict[str, Any], list[Member]]:
    """The record of a group, and its members that were not read."""
    for member in group.members:
        if member.problem:
            raise BadDataError("broken shard", f"{member.name or 'tar header'}: {member.problem}")
    _check_others(group)
    texts = [member for member in group.members if member.suffix in TEXTS]
    by_ending = {member.suffix: member for member in texts}
    if len(texts) != len(by_ending):
        shown = ", ".join(member.name for member in texts)
        raise BadDataError("broken record", f"more than one .json or .txt of a sample: {shown}")
    if not texts:
        shown = ", ".join(member.name for member in group.members[:5])
        raise BadDataError("wrong columns", f"no .json or .txt of sample {group.key!r}, only {shown}: {APART}")
    record = _read_json(_read_bounded(file, by_ending.pop("json"))) if "json" in by_ending else {}
    images = _in_order([member for member in group.members if member.ending in IMAGES], _names(record))
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
        if member.key == group.key and (member.ending in NOT_READ or is_media_file(member.name)):
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
    fields = parse_json(text, "the .json")
    if not isinstance(fields, dict):
        raise BadDataError("broken record", f"the .json holds {type(fields).__name__}, expected an object")
    return fields


def _read_bounded(file: ReadAhead, member: Member) -> bytes:
    """A text; whatever its size says, not more than JSON may have."""
    if member.size > MAX_JSON_BYTES:
        raise BadDataError(
            "broken record", f"{member.name} has {member.size:,} bytes, a text may have {MAX_JSON_BYTES:,}"
        )
    return _read(file, member)


def _read(file: ReadAhead, member: Member) -> bytes:
    return file.read_at(member.size, member.data)


def _unread(member: Member) -> Unread:
    """How a member is listed that is not read."""
    return Unread("member", clean(f".{member.suffix}" if member.key else posixpath.basename(member.name), _MAX_NAME))


def _in_order(images: Sequence[Member], named: Sequence[str]) -> list[Member]:
    """The images of a sample: those that its .json names, in that order, or else `jpg`, `0.jpg`, `1.jpg`, ...

    Another name of its own, such as `seg.png`, tells what only its author knows, so that it must stand in the .json.

    Args:
        images: members with endings of images, in the order of the tar.
        named: names of images in the .json; may be paths of another place, then they say nothing.

    Raises:
        BadDataError: the .json names images that are not there, or nothing tells which members are the images.
    """
    by_name = _by_name(images, named)
    if by_name is not None:
        return by_name
    suffixes = [member.suffix for member in images]
    numbers = [_number(suffix) for suffix in suffixes]
    known = [(number, i) for i, number in enumerate(numbers) if number is not None]
    if images and not known:
        shown = ", ".join(suffixes[:5])
        raise BadDataError("missing image", f"{shown}: name these images in the .json, or call them 0.jpg, 1.jpg, ...")
    return [images[i] for _, i in sorted(known)]


def _number(suffix: str) -> int | None:
    """The place of an image by its name, -1 for one without number; None for a name of its own."""
    match = _NUMBERED.fullmatch(suffix)
    if match is None:
        return None if "." in suffix else -1
    return int(match[1] or -1)


def _by_name(images: Sequence[Member], named: Sequence[str]) -> list[Member] | None:
    """The images that the names stand for; None where no name is the name of a member."""
    by_name: dict[str, Member | None] = {}
    for member in images:
        for name in {member.name, posixpath.basename(member.name), member.suffix}:
            by_name[name] = None if name in by_name else member
    matches = {name: by_name.get(name) or by_name.get(posixpath.basename(name)) for name in named}
    there = {name: member for name, member in matches.items() if member is not None}
    if not there or len({member.start for member in there.values()}) < len(there):
        return None  # names of another place
    if len(there) < len(matches):
        missing = next(name for name in named if name not in there)
        raise BadDataError("missing image", f"the .json names {missing!r}, which the tar does not hold beside it")
    return [there[name] for name in named]
