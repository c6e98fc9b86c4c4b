"""Which members of a webdataset sample are its images, and in which order."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cli_ray.data.readers.tar import Member
from cli_ray.data.sample import BadDataError, Unread, clean

IMAGES = ("jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2")
NOT_READ = ("heic", "heif", "jxl", "ppm", "pgm", "pnm", "svg", "j2k", "jpx", "psd", "dng")
"""Endings of images that are never decoded, so that their samples are refused and not learnt without them."""

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_NUMBERED = re.compile(r"(?:(?:image|img|page|frame)?[_-]?(\d{1,18})|image|img)\.[^.]+")
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Name:
    """What the name of a member says."""

    key: str
    """Of the sample: all up to the first dot of the last step. Empty for names that start with a dot or have none."""
    suffix: str
    """What follows that dot, lower case, such as `jpg`, `0.jpg` or `seg.png`."""

    @classmethod
    def of(cls, member: Member) -> "Name":
        """The name of a member."""
        match = _NAME.fullmatch(member.name)
        return cls(match[1], match[2].lower()) if match else cls("", "")

    @property
    def ending(self) -> str:
        """What follows the last dot."""
        return self.suffix.rpartition(".")[2]


def unread_member(member: Member) -> Unread:
    """How a member is listed that is not read."""
    name = Name.of(member)
    return Unread("member", clean(f".{name.suffix}" if name.key else posixpath.basename(member.name), _MAX_NAME))


def images_in_order(images: Sequence[Member], named: Sequence[str]) -> list[Member]:
    """The images of a sample: those that its .json names, in that order, or else `jpg`, `0.jpg`, `1.jpg`, ...

    Another name of its own, such as `seg.png`, tells what only its author knows, so that it must stand in the .json.

    Args:
        images: members with endings of images, in the order of the tar.
        named: names of images in the .json; may be paths of another place, then they say nothing.

    Raises:
        BadDataError: the .json names images that are not there, or nothing tells which members are the images.
    """
    found = _by_name(images, named)
    if found is not None:
        return found
    suffixes = [Name.of(member).suffix for member in images]
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
        for name in {member.name, posixpath.basename(member.name), Name.of(member).suffix}:
            by_name[name] = None if name in by_name else member
    found = {name: by_name.get(name) or by_name.get(posixpath.basename(name)) for name in named}
    there = {name: member for name, member in found.items() if member is not None}
    if not there or len({member.start for member in there.values()}) < len(there):
        return None  # names of another place
    if len(there) < len(found):
        missing = next(name for name in named if name not in there)
        raise BadDataError("missing image", f"the .json names {missing!r}, which the tar does not hold beside it")
    return [there[name] for name in named]
