"""The turns of a conversation as people write them, and which `<image>` in their texts stands for an image.

`conversation` makes messages of them: whose a turn is, whether it is learnt, its parts, and which marks are text.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli_ray.data.fields import check_unread, is_empty, unread_fields
from cli_ray.data.sample import IMAGE_MARK, LITERAL_MARK, BadDataError, Role, Unread

ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
}
MASKS = ("weight", "loss", "loss_weight", "loss_scale", "train", "training", "masked")
"""Fields that say whether a turn is learnt: of OpenAI (weight), ms-swift (loss, loss_scale), LLaMA-Factory
(loss_weight), axolotl (train, training, weight) and torchtune (masked, which says the contrary)."""
_TURN_KEYS = ("role", "from", "content", "value", *MASKS)
_PICTURE_KEYS = ("image", "path", "url", "image_url", "base64", "bytes")
_PACKED_PARTS = re.compile(
    r"""\s*\[\s*\{[^{}\[\]]{0,300}?["']type["']\s*:\s*["'](?:text|image|image_url)["']""", re.DOTALL
)
"""A list of parts made text, as those do who must give a column one type."""
_PART_KEYS = ("type", "text", "index", *_PICTURE_KEYS)

AS_TEXT = f"{IMAGE_MARK} without an image is text"
TAGS_AS_TEXT = "tags such as <video> or <img> are text"
NOT_SEEN = f"images without an {IMAGE_MARK} mark are left out, as LLaVA does"
MARK_FIRST = f"{IMAGE_MARK} is moved to the beginning of its message, as LLaVA does"

_LOST = re.compile(r"(?m)\A\s*<image>|^[ \t]*<image>[ \t]*$")
"""A mark as it stands before a question, not within a sentence about marks."""
_LOST_MEDIA = re.compile(r"\A\s*<(?:video|audio)>")
_NAMED = re.compile(r"<img>[^<\n]{1,1000}</img>")
_TAG = re.compile(r"(?i)<\|?(?:image|img|video|audio)[ _]?(?:\d{1,4}|pad|placeholder)?\|?>")


@dataclass(slots=True)
class Turn:
    """One turn."""

    role: Role
    content: Any
    """Text, or a list of parts `{"type": "text", "text": ...}` and `{"type": "image"}`; what is neither is left as it
    was, for the error."""
    supervised: bool = True

    def texts(self) -> list[str]:
        """Its text, or those of its parts."""
        parts = self.content if isinstance(self.content, list) else [{"text": self.content}]
        texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
        return [text for text in texts if isinstance(text, str)]


@dataclass(slots=True)
class Turns:
    """The turns of a record, and what was found in them."""

    turns: list[Turn] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    """Of each part that is an image, the picture in it, or None."""
    indices: list[int | None] = field(default_factory=list)
    """Of each part that is an image, the number of its image among those of the record."""
    unread: list[Unread] = field(default_factory=list)


def turns_of(written: Sequence[Any], key: str) -> Turns:
    """The turns of a list of objects.

    Args:
        written: what the record holds.
        key: the field that holds it, for messages.

    Raises:
        BadDataError: one is no object, has a role or mask that is not known, or holds what cannot be left out.
    """
    result = Turns()
    for turn in written:
        if not isinstance(turn, Mapping):
            raise BadDataError("wrong columns", f"{key} holds {kind_of(turn)}, expected objects with role and content")
        name, content = _either(turn, "role", "from"), _either(turn, "content", "value")
        if not isinstance(name, str) or name.lower() not in ROLES:
            role = repr(name) if isinstance(name, str) else kind_of(name)
            raise BadDataError("messages", f"role {role}, expected one of {', '.join(ROLES)}")
        result.unread += unread_fields(turn, _TURN_KEYS, "message field")
        check_unread(turn, _TURN_KEYS, has_images=False)
        role = ROLES[name.lower()]
        if isinstance(content, str) and _PACKED_PARTS.match(content):
            raise BadDataError("wrong columns", f"{key} has the text of a list of parts as content; write a list")
        if isinstance(content, Sequence) and not isinstance(content, bytes | str):
            content = [_part(part, result) for part in content]
        result.turns.append(Turn(role, content, _is_supervised(turn, role)))
    return result


def settle_marks(turns: Sequence[Turn], num_images: int, llava: bool) -> tuple[int, list[str]]:
    """Puts `LITERAL_MARK` for each mark that stands for no image.

    Args:
        turns: of a conversation; their texts are changed.
        num_images: of the sample.
        llava: whether images without a mark are left out.

    Returns:
        How many images belong to the sample, and what was read otherwise than it stands.

    Raises:
        BadDataError: marks and images do not agree, a mark of another kind stands for a picture, video or sound, or a
            text holds `LITERAL_MARK` itself.
    """
    if any(LITERAL_MARK in text for turn in turns for text in turn.texts()):
        raise BadDataError("broken record", f"a message holds {LITERAL_MARK!r}, which is no character")
    questions = [turn for turn in turns if turn.role != "assistant"]
    answers = [turn for turn in turns if turn.role == "assistant"]
    remarks = _check_tags(questions)
    parts, marks, in_answers = sum(map(_image_parts, turns)), _count(questions), _count(answers)
    if any(map(_image_parts, answers)):
        raise BadDataError("image marks", "an image in an assistant message")
    if llava and num_images and not parts + marks + in_answers:
        return 0, [*remarks, NOT_SEEN]
    literal = list(answers)
    if parts + marks != num_images:
        _check_literal(questions, parts, marks, in_answers, num_images)
        literal = list(turns)
    remarks += [AS_TEXT] if _count(literal) else []
    for turn in literal:
        _change(turn, lambda text: text.replace(IMAGE_MARK, LITERAL_MARK))
    return num_images, remarks


def marks_first(turns: Sequence[Turn]) -> list[str]:
    """As LLaVA's `preprocess_multimodal` (haotian-liu/LLaVA, llava/train/train.py): the mark of a message comes first,
    on a line of its own, and the rest is stripped. Messages with several marks stay, as in LLaVA-NeXT.

    Returns:
        What was changed.
    """
    moved = False
    for turn in turns:
        if turn.role == "user" and isinstance(turn.content, str) and turn.content.count(IMAGE_MARK) == 1:
            text = f"{IMAGE_MARK}\n{turn.content.replace(IMAGE_MARK, '').strip()}".strip()
            moved, turn.content = moved or text != turn.content, text
    return [MARK_FIRST] if moved else []


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    return "null" if value is None else type(value).__name__


def _either(turn: Mapping[str, Any], first: str, second: str) -> Any:
    """The value of two names of one thing; a table has both columns."""
    value, other = turn.get(first), turn.get(second)
    if value is not None and other is not None and value != other:
        raise BadDataError("messages", f"a message has both {first} and {second}, and they differ")
    return other if value is None else value


def _is_supervised(turn: Mapping[str, Any], role: Role) -> bool:
    """What the masks of a turn say. Only turns of the assistant are learnt, by default all of them."""
    says: list[bool] = []
    for name in MASKS:
        value = turn.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            shown = repr(value) if isinstance(value, int | float) else kind_of(value)
            raise BadDataError("messages", f"{name} is {shown[:40]}: 0, 1, false and true are understood")
        says.append(bool(value) != (name == "masked"))
        if says[-1] and role != "assistant":
            raise BadDataError("messages", f"{name} asks to learn a message of the {role}; the assistant's are learnt")
    return all(says)


def _part(part: Any, turns: Turns) -> Any:
    """A part without its picture, which goes to `turns`."""
    if not isinstance(part, Mapping):
        return part
    kind = part.get("type")
    if kind not in ("text", "image", "image_url"):
        return part
    turns.unread += unread_fields(part, _PART_KEYS, "part field")
    check_unread(part, _PART_KEYS, has_images=kind != "text")
    if kind == "text":
        return part
    pictures = [(name, part[name]) for name in _PICTURE_KEYS if not is_empty(part.get(name))]
    if len(pictures) > 1:
        raise BadDataError("wrong columns", f"an image part has both {pictures[0][0]} and {pictures[1][0]}")
    turns.pictures.append(_picture(*pictures[0]) if pictures else None)
    index = part.get("index")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool) or index < 0):
        raise BadDataError("wrong columns", f"an image part has index {kind_of(index)}, expected a number from 0 on")
    turns.indices.append(index)
    return {"type": "image"}


def _picture(name: str, value: Any) -> Any:
    if name == "image_url" and isinstance(value, Mapping):
        return value.get("url")
    if name == "base64" and isinstance(value, str):
        return value if value.startswith("data:") else f"data:image;base64,{value}"
    return value


def _check_literal(questions: Sequence[Turn], parts: int, marks: int, in_answers: int, num_images: int) -> None:
    """Refuses (BadDataError) marks of which not all that stand for no image can be known."""
    if parts + marks + in_answers == num_images and in_answers:
        raise BadDataError("image marks", f"an {IMAGE_MARK} mark in an assistant message")
    lost = num_images == 0 and any(_LOST.search(text) for turn in questions for text in turn.texts())
    if parts != num_images or lost:
        detail = f"{parts + marks} {IMAGE_MARK} marks for {num_images} images"
        if parts + marks > num_images > 0:
            detail += f"; where {IMAGE_MARK} shall be text, write the images as parts of type image"
        raise BadDataError("image marks", detail)


def _check_tags(questions: Sequence[Turn]) -> list[str]:
    texts = [text for turn in questions for text in turn.texts()]
    for text in texts:
        if match := _NAMED.search(text):
            detail = f"{match[0][:80]} in a message; write {IMAGE_MARK} and name the file in images"
            raise BadDataError("image marks", detail)
        if match := _LOST_MEDIA.match(text):
            raise BadDataError("not supported", f"a message begins with {match[0].strip()}; only images are read")
    return [TAGS_AS_TEXT] if any(tag[0] != IMAGE_MARK for text in texts for tag in _TAG.finditer(text)) else []


def _count(turns: Sequence[Turn]) -> int:
    return sum(text.count(IMAGE_MARK) for turn in turns for text in turn.texts())


def _image_parts(turn: Turn) -> int:
    parts = turn.content if isinstance(turn.content, list) else []
    return sum(isinstance(part, dict) and part.get("type") == "image" for part in parts)


def _change(turn: Turn, change: Callable[[str], str]) -> None:
    if isinstance(turn.content, str):
        turn.content = change(turn.content)
    elif isinstance(turn.content, list):
        turn.content = [
            {**part, "text": change(part["text"])}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in turn.content
        ]
