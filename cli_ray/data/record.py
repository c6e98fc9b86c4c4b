"""From the records people keep, to messages and images.

A record is a mapping with `messages`, `conversations` or `caption`, and `images` or `image`: a row of a
table, an object of a JSON file, or a group of tar members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli_ray.data.json_text import parse
from cli_ray.data.sample import IMAGE_MARK, BadDataError, Message, Role

ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
}
TEXT_KEYS = ("messages", "conversations", "caption")
IMAGE_KEYS = ("images", "image")


@dataclass(frozen=True, slots=True)
class Record:
    """One sample as a reader found it."""

    where: str
    """Position within the shard."""
    key: str
    """Its own name; may be empty, and need not be unique."""
    content: Mapping[str, Any] | BadDataError
    """The record, or why there is none."""


def messages_of(record: Mapping[str, Any], num_images: int, prompt: str) -> list[Message]:
    """The conversation of a record, checked.

    Args:
        record: see the top of the file.
        num_images: how many image marks there must be.
        prompt: question put before a caption.

    Raises:
        BadDataError: there is none, its parts have wrong types, roles do not alternate, a message is
            empty, or marks and images do not agree.
    """
    key = next((key for key in TEXT_KEYS if record.get(key) is not None), None)
    if key is None:
        there = ", ".join(map(str, record)) or "nothing"
        raise BadDataError("wrong columns", f"none of {', '.join(TEXT_KEYS)} is there, only {there}")
    turns = record[key]
    if key == "caption":
        messages = _caption(turns, num_images, prompt)
    else:
        messages = [_message(turn, key) for turn in _sequence(turns, key)]
    _check_roles(messages)
    _check_marks(messages, num_images)
    return messages


def images_of(record: Mapping[str, Any]) -> list[bytes | str]:
    """Encoded images, or names of files, of a record.

    Raises:
        BadDataError: an entry is neither.
    """
    key = next((key for key in IMAGE_KEYS if record.get(key) is not None), None)
    if key is None:
        return []
    entries = record[key]
    return [_image(entry, key) for entry in (entries if isinstance(entries, list | tuple) else [entries])]


def _image(entry: Any, key: str) -> bytes | str:
    """An image: bytes, a name, or the struct `{bytes, path}` of Hugging Face datasets."""
    if isinstance(entry, Mapping) and entry.keys() & {"bytes", "path"}:
        entry = entry.get("bytes") if entry.get("bytes") is not None else entry.get("path")
    if isinstance(entry, bytes | str):
        return entry
    raise BadDataError("wrong columns", f"{key} holds {_kind(entry)}, expected bytes, a path, or {{bytes, path}}")


def _sequence(value: Any, key: str) -> Sequence[Any]:
    """A list, given as one or as JSON text of one."""
    if isinstance(value, str):
        value = parse(value, key)
    if not isinstance(value, Sequence) or isinstance(value, bytes | str):
        raise BadDataError("wrong columns", f"{key} is {_kind(value)}, expected a list of messages")
    return value


def _message(turn: Any, key: str) -> Message:
    if not isinstance(turn, Mapping):
        raise BadDataError("wrong columns", f"{key} holds {_kind(turn)}, expected objects with role and content")
    name, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if not isinstance(name, str) or name.lower() not in ROLES:
        role = repr(name) if isinstance(name, str) else _kind(name)
        raise BadDataError("messages", f"role {role}, expected one of {', '.join(ROLES)}")
    role = ROLES[name.lower()]
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        return Message.of_parts(role, [_part(part, key) for part in content])
    return Message(role, _text(content, key))


def _text(content: Any, key: str) -> str:
    if isinstance(content, str):
        try:
            content.encode()
        except UnicodeEncodeError as error:
            raise BadDataError("broken record", f"{key} has half of a surrogate pair in its text") from error
        return content
    raise BadDataError("wrong columns", f"{key} has content of type {_kind(content)}, expected text")


def _part(part: Any, key: str) -> str:
    """The text of a typed part, or the mark of an image."""
    if isinstance(part, Mapping):
        if part.get("type") == "image":
            return IMAGE_MARK
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return _text(part["text"], key)
        kind = part.get("type")
        found = f"of type {kind!r}" if isinstance(kind, str) else f"whose type is {_kind(kind)}"
    else:
        found = f"that is {_kind(part)}"
    raise BadDataError("wrong columns", f"{key} has a part {found}, expected an object of type text or image")


def _caption(text: Any, num_images: int, prompt: str) -> list[Message]:
    if not isinstance(text, str):
        raise BadDataError("wrong columns", f"caption is {_kind(text)}, expected text")
    if not num_images:
        raise BadDataError("missing image", "a caption without an image")
    return [Message("user", f"{IMAGE_MARK * num_images}\n{prompt}"), Message("assistant", text.strip())]


def _check_roles(messages: Sequence[Message]) -> None:
    """An optional system message, then user and assistant in turn, the assistant last; none of them empty."""
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns:
        raise BadDataError("messages", "the conversation is empty")
    if turns != ["user", "assistant"] * (len(turns) // 2):
        raise BadDataError("messages", f"roles must be user, assistant, ... in turn; they are {', '.join(roles)[:200]}")
    if any(not message.content.strip() for message in messages):
        raise BadDataError("messages", "a message is empty")


def _check_marks(messages: Sequence[Message], num_images: int) -> None:
    marks = sum(message.content.count(IMAGE_MARK) for message in messages)
    if marks != num_images:
        raise BadDataError("image marks", f"{marks} {IMAGE_MARK} marks for {num_images} images")
    if any(IMAGE_MARK in message.content for message in messages if message.role == "assistant"):
        raise BadDataError("image marks", f"an {IMAGE_MARK} mark in an assistant message")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
