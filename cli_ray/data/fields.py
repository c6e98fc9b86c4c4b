"""The fields of records and messages: which are read, and what follows from those that are not.

A record is a row of a table, an object of a JSON file or a group of tar members; readers and `conversation` ask here. A
field that nothing reads is of no consequence and listed, or it would change what the sample says and refuses it.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from cli_ray.data.sample import BadDataError, Unread, clean

TEXT_KEYS = ("messages", "conversations", "caption")
IMAGE_KEYS = ("images", "image")
SYSTEM_KEYS = ("system", "system_prompt")
MAX_JSON_BYTES = 8 << 20
"""Of the longest text that is parsed. In memory it may take twenty times that: `[[],[],...]` does."""

_TOOLS = ("tools", "functions", "tool_calls", "function_call", "function_calls")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_MEDIA = re.compile(r"(?i)(?:.*_)?(?:video|audio|clip|speech)s?(?:_(?:path|file|name|url)s?)?")
_MEDIA_FILE = re.compile(r"(?i)[^\n]*\.(?:mp4|avi|mov|mkv|webm|flv|wmv|m4v|mpe?g|wav|mp3|flac|ogg|m4a|aac)")
_PICTURE = re.compile(r"(?i)(?:.*_)?(?:image|img|picture|photo|media|pixel_value)s?(?:_.*|\d+)?|file_?names?")
_PICTURE_NUMBER = re.compile(r"(?i)(?:image|img|picture|photo)_?\d+")
_PART_OF_TRAINING = re.compile(r"(?i)train_detail")
_BOXES = re.compile(r"<bbox>|<ref-object>")
_MAX_SHOWN = 80
_MAX_NAME = 100
_MAX_LISTED = 50
"""Fields of one record, of which a hostile one may have a million."""
_DEPTH = 2
"""Levels of nesting that are looked into; what people mean by empty, or by an image, has no more."""


def parse_json(text: bytes | str, name: str) -> Any:
    """What a text holds.

    Args:
        text: of a record, or of one of its fields.
        name: of the text, for the message.

    Raises:
        BadDataError: it is no JSON, nested too deeply, or too long.
    """
    if len(text) > MAX_JSON_BYTES:
        raise BadDataError("broken record", f"{name} has {len(text):,} bytes, JSON may have {MAX_JSON_BYTES:,}")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadDataError("broken record", f"{name} is nested too deeply") from error
    except ValueError as error:
        raise BadDataError("broken record", f"{name} is no JSON: {error}") from error


def is_empty(value: Any, depth: int = _DEPTH) -> bool:
    """Whether a field says nothing: null, NaN, blank text, or a list or object of such; `[]` as JSON text too.

    What is nested deeper than `depth` says something.
    """
    if isinstance(value, str):
        return value.strip() in ("", "[]", "{}")
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return not value or (depth > 0 and all(is_empty(entry, depth - 1) for entry in inner))
    return value is None


def matters(name: str) -> bool:
    """Whether a field of that name, though nothing reads it, may be a reason to refuse the sample."""
    named = (*_TOOLS, *_THOUGHTS, "objects")
    return name in named or any(p.fullmatch(name) for p in (_MEDIA, _PICTURE, _PART_OF_TRAINING))


def is_media_file(name: str) -> bool:
    """Whether a name is that of a video or of sound."""
    return _MEDIA_FILE.fullmatch(name) is not None


def unread_fields(fields: Mapping[str, Any], read: Collection[str], of: str) -> list[Unread]:
    """The fields with a value that nothing reads, the first few, for the listing.

    Args:
        fields: of a record, a message or a part.
        read: names of those that are read.
        of: what the fields are.
    """
    return [Unread(of, clean(name, _MAX_NAME)) for name in islice(_unread(fields, read), _MAX_LISTED)]


def check_unread(fields: Mapping[str, Any], read: Collection[str], *, has_images: bool, text: str = "") -> None:
    """Refuses a sample that would say something else without a field that nothing reads.

    Args:
        fields: of a record, a message or a part.
        read: names of those that are read.
        has_images: whether the sample has images from where they are looked for.
        text: of the sample, in which other trainers put boxes for marks.

    Raises:
        BadDataError: it would.
    """
    for name, value in _unread(fields, read).items():
        if not is_empty(value):
            _check(clean(name, _MAX_NAME), value, has_images, text)


def _unread(fields: Mapping[str, Any], read: Collection[str]) -> dict[str, Any]:
    return {str(name): value for name, value in fields.items() if name not in read and not _is_blank(value)}


def _is_blank(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, list | tuple) and not value)


def _check(name: str, value: Any, has_images: bool, text: str) -> None:
    """Refuses (BadDataError) what cannot be left out."""
    texts = [entry for entry in (value if isinstance(value, list | tuple) else [value]) if isinstance(entry, str)]
    if _is_number(value):
        return  # a count, a size, an id
    if _MEDIA.fullmatch(name) or any(map(is_media_file, texts)):
        raise BadDataError("not supported", f"{name} names video or sound ({_shown(value)}), which is not read")
    if name in _TOOLS:
        raise BadDataError("not supported", f"{name} is not rendered ({_shown(value)}): conversations have no tools")
    if name in _THOUGHTS:
        raise BadDataError("not supported", f"{name} is not rendered; put what shall be learnt into the content")
    if _PART_OF_TRAINING.fullmatch(name):
        raise BadDataError("not supported", f"{name} masks parts of a message; only whole messages can be masked")
    if name == "objects" and _BOXES.search(text):
        raise BadDataError("not supported", "objects are not put into the text; write the boxes there")
    if _PICTURE_NUMBER.fullmatch(name) or _holds_bytes(value) or (_PICTURE.fullmatch(name) and not has_images):
        raise BadDataError("missing image", f"{name} is not read ({_shown(value)}); call it image or images")


def _is_number(value: Any) -> bool:
    """Also a list of numbers, such as a size."""
    return isinstance(value, int | float) or (
        isinstance(value, list | tuple) and all(isinstance(entry, int | float) for entry in value)
    )


def _holds_bytes(value: Any, depth: int = _DEPTH) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, bytes) or (depth > 0 and any(_holds_bytes(entry, depth - 1) for entry in inner))


def _shown(value: Any) -> str:
    """The beginning of a value, or of the first text in a list."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    return repr(first[:_MAX_SHOWN]) if isinstance(first, str) else type(first).__name__
