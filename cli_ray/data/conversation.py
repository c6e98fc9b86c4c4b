"""From the record that people keep of a sample to its messages and images, checked.

`source.read_samples` calls it for the record of every format, see `fields` for what a record may hold.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli_ray.data.fields import (
    IMAGE_KEYS,
    SYSTEM_KEYS,
    TEXT_KEYS,
    check_unread,
    is_empty,
    parse_json,
    unread_fields,
)
from cli_ray.data.sample import IMAGE_MARK, BadDataError, Message, Unread
from cli_ray.data.turns import Turn, Turns, kind_of, marks_first, settle_marks, turns_of

NO_SYSTEM = "an empty system message counts as none"
NO_GREETING = "a first message of the assistant is left out, as LLaVA does"
_READ = ("id", "source", *IMAGE_KEYS, *SYSTEM_KEYS)


@dataclass(slots=True)
class Conversation:
    """What a record says."""

    images: list[bytes | str] = field(default_factory=list)
    """Encoded images, or names of files, in the order of their marks."""
    messages: list[Message] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    """What of it was not read; known as far as it was read where it is refused."""
    read: list[str] = field(default_factory=list)
    """Names of its fields that were read."""
    remarks: list[str] = field(default_factory=list)
    """What was read otherwise than it stands."""


def read_conversation(record: Mapping[str, Any], prompt: str, llava: bool, into: Conversation) -> None:
    """The conversation of a record, checked.

    Args:
        record: see the top of the file.
        prompt: question put before a caption.
        llava: whether LLaVA's own preprocessing is followed, see `SourceConfig.llava_preprocessing`.
        into: takes what the record says.

    Raises:
        BadDataError: there is none, its parts have wrong types, roles do not alternate, a message is empty, marks and
            images do not agree, nothing is supervised, or a field that is not read would change what it says.
    """
    key = next((key for key in TEXT_KEYS if not is_empty(record.get(key))), None)
    read = (*_READ, key or TEXT_KEYS[0])
    into.unread += unread_fields(record, read, "field")
    into.read += [name for name in read if not is_empty(record.get(name))]
    if key is None:
        key = _empty_key(record)
    named = images_of(record)
    written = Turns()
    if key != "caption":
        written = turns_of(_sequence(record[key], key), key)
    images = _own_images(written, named)
    if key == "caption":
        written.turns = _caption(record[key], len(images), prompt)
    into.unread += written.unread
    texts = "\n".join(text for turn in written.turns for text in turn.texts())
    check_unread(record, (*_READ, key), has_images=bool(images), text=texts)
    turns = _with_system(record, written.turns, into.remarks)
    for turn in turns:
        _message(turn, key)  # its faults come first
    if llava and [turn.role for turn in turns if turn.role != "system"][:1] == ["assistant"]:
        turns.remove(next(turn for turn in turns if turn.role == "assistant"))
        into.remarks.append(NO_GREETING)
    _check_roles(turns)
    num_images, remarks = settle_marks(turns, len(images), llava)
    into.remarks += remarks + (marks_first(turns) if llava else [])
    into.images = images[:num_images]
    into.messages = [_message(turn, key) for turn in turns]
    _check_texts(into.messages)


def images_of(record: Mapping[str, Any]) -> list[bytes | str]:
    """Encoded images, or names of files, of a record; none where the field holds nothing.

    Raises:
        BadDataError: an entry is neither, or two fields hold images.
    """
    keys = [key for key in IMAGE_KEYS if not is_empty(record.get(key))]
    if not keys:
        return []
    lists = [value if isinstance(value, list | tuple) else [value] for value in (record[key] for key in keys)]
    images = [[_image(entry, key) for entry in entries] for key, entries in zip(keys, lists, strict=True)]
    if any(other != images[0] for other in images):
        raise BadDataError("wrong columns", f"both {' and '.join(keys)} hold images, and they differ")
    return images[0]


def _image(entry: Any, key: str) -> bytes | str:
    """An image: bytes, a name, a data URL, or the struct `{bytes, path}` of Hugging Face datasets."""
    if isinstance(entry, Mapping) and entry.keys() & {"bytes", "path"}:
        entry = entry.get("bytes") if entry.get("bytes") is not None else entry.get("path")
    if isinstance(entry, str) and entry.startswith("data:"):
        return _decoded(entry)
    if isinstance(entry, bytes | str):
        return entry
    raise BadDataError("wrong columns", f"{key} holds {kind_of(entry)}, expected bytes, a path, or {{bytes, path}}")


def _decoded(url: str) -> bytes:
    """The bytes of a data URL (RFC 2397)."""
    head, comma, text = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadDataError("broken image", f"{url[:40]!r}: a data URL must be data:image/...;base64,...")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadDataError("broken image", f"a data URL that is no base64: {error}") from error


def _own_images(written: Turns, named: list[bytes | str]) -> list[bytes | str]:
    """The images in the order of their marks: those that the parts hold, or those that they point at."""
    own = [picture for picture in written.pictures if picture is not None]
    indices = [index for index in written.indices if index is not None]
    if own and (named or len(own) != len(written.pictures)):
        raise BadDataError("image marks", "some images are in parts of messages and others are not")
    if own:
        return [_image(picture, "a part") for picture in own]
    if not indices:
        return named
    if len(indices) != len(written.indices) or sorted(indices) != list(range(len(named))):
        shown = ", ".join(map(str, indices[:20]))
        raise BadDataError("image marks", f"parts point at images {shown} of {len(named)}, expected each of them once")
    return [named[index] for index in indices]


def _empty_key(record: Mapping[str, Any]) -> str:
    """The field of a conversation that holds none, for the error; there may be no such field at all."""
    key = next((key for key in TEXT_KEYS if record.get(key) is not None), None)
    if key is None:
        there = ", ".join(map(str, record)) or "nothing"
        raise BadDataError("wrong columns", f"none of {', '.join(TEXT_KEYS)} is there, only {there}")
    return key


def _sequence(value: Any, key: str) -> Sequence[Any]:
    """A list, given as one or as JSON text of one."""
    if isinstance(value, str):
        value = parse_json(value, key)
    if not isinstance(value, Sequence) or isinstance(value, bytes | str):
        raise BadDataError("wrong columns", f"{key} is {kind_of(value)}, expected a list of messages")
    return value


def _with_system(record: Mapping[str, Any], turns: list[Turn], remarks: list[str]) -> list[Turn]:
    """The turns after the system message of the record's own field, and without an empty one."""
    texts: list[Any] = []
    for key in SYSTEM_KEYS:
        if not is_empty(record.get(key)) and record[key] not in texts:
            texts.append(record[key])
    if turns and turns[0].role == "system":
        if is_empty(turns[0].content) or turns[0].content == [{"type": "text", "text": ""}]:
            turns = turns[1:]
            remarks.append(NO_SYSTEM)
        elif texts == [turns[0].content]:
            texts = []
    if len(texts) + (turns[:1] != [] and turns[0].role == "system") > 1:
        raise BadDataError("messages", "there are two system messages, and they differ")
    return [Turn("system", text) for text in texts] + turns


def _message(turn: Turn, key: str) -> Message:
    if isinstance(turn.content, list):
        return Message.of_parts(turn.role, [_part(part, key) for part in turn.content], turn.supervised)
    return Message(turn.role, _text(turn.content, key), turn.supervised)


def _text(content: Any, key: str) -> str:
    if isinstance(content, str):
        try:
            content.encode()
        except UnicodeEncodeError as error:
            raise BadDataError("broken record", f"{key} has half of a surrogate pair in its text") from error
        return content
    raise BadDataError("wrong columns", f"{key} has content of type {kind_of(content)}, expected text")


def _part(part: Any, key: str) -> str:
    """The text of a typed part, or the mark of an image."""
    if isinstance(part, Mapping):
        if part.get("type") == "image":
            return IMAGE_MARK
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return _text(part["text"], key)
        kind = part.get("type")
        what = f"of type {kind!r}" if isinstance(kind, str) else f"whose type is {kind_of(kind)}"
    else:
        what = f"that is {kind_of(part)}"
    raise BadDataError("wrong columns", f"{key} has a part {what}, expected an object of type text or image")


def _caption(text: Any, num_images: int, prompt: str) -> list[Turn]:
    if not isinstance(text, str):
        raise BadDataError("wrong columns", f"caption is {kind_of(text)}, expected text")
    if not num_images:
        raise BadDataError("missing image", "a caption without an image")
    return [Turn("user", f"{IMAGE_MARK * num_images}\n{prompt}"), Turn("assistant", text.strip())]


def _check_roles(turns: Sequence[Turn]) -> None:
    """An optional system message, then user and assistant in turn, the assistant last."""
    roles = [turn.role for turn in turns]
    pairs = roles[1:] if roles[:1] == ["system"] else roles
    if not pairs:
        raise BadDataError("messages", "the conversation is empty")
    if pairs != ["user", "assistant"] * (len(pairs) // 2):
        hint = "; data.sources.llava_preprocessing leaves out a first assistant" if pairs[0] == "assistant" else ""
        detail = f"roles must be user, assistant, ... in turn; they are {', '.join(roles)[:200]}{hint}"
        raise BadDataError("messages", detail)


def _check_texts(messages: Sequence[Message]) -> None:
    if any(not message.content.strip() for message in messages):
        raise BadDataError("messages", "a message is empty")
    if not any(message.supervised for message in messages if message.role == "assistant"):
        raise BadDataError("nothing supervised", "no message of the assistant is to be learnt")
