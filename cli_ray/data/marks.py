"""Which `<image>` in the texts of a conversation stands for an image, and which is text."""

import re
from collections.abc import Callable, Sequence

from cli_ray.data.sample import IMAGE_MARK, LITERAL_MARK, BadDataError
from cli_ray.data.turns import Turn

AS_TEXT = f"{IMAGE_MARK} without an image is text"
TAGS_AS_TEXT = "tags such as <video> or <img> are text"
NOT_SEEN = f"images without an {IMAGE_MARK} mark are left out, as LLaVA does"
MARK_FIRST = f"{IMAGE_MARK} is moved to the beginning of its message, as LLaVA does"

_LOST = re.compile(r"(?m)\A\s*<image>|^[ \t]*<image>[ \t]*$")
"""A mark as it stands before a question, not within a sentence about marks."""
_LOST_MEDIA = re.compile(r"\A\s*<(?:video|audio)>")
_NAMED = re.compile(r"<img>[^<\n]{1,1000}</img>")
_TAG = re.compile(r"(?i)<\|?(?:image|img|video|audio)[ _]?(?:\d{1,4}|pad|placeholder)?\|?>")


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
    asked = [turn for turn in turns if turn.role != "assistant"]
    answers = [turn for turn in turns if turn.role == "assistant"]
    remarks = _check_tags(asked)
    parts, marks, in_answers = sum(map(_image_parts, turns)), _count(asked), _count(answers)
    if any(map(_image_parts, answers)):
        raise BadDataError("image marks", "an image in an assistant message")
    if llava and num_images and not parts + marks + in_answers:
        return 0, [*remarks, NOT_SEEN]
    literal = list(answers)
    if parts + marks != num_images:
        _check_literal(asked, parts, marks, in_answers, num_images)
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


def _check_literal(asked: Sequence[Turn], parts: int, marks: int, in_answers: int, num_images: int) -> None:
    """Refuses (BadDataError) marks of which not all that stand for no image can be known."""
    if parts + marks + in_answers == num_images and in_answers:
        raise BadDataError("image marks", f"an {IMAGE_MARK} mark in an assistant message")
    lost = num_images == 0 and any(_LOST.search(text) for turn in asked for text in turn.texts())
    if parts != num_images or lost:
        told = f"{parts + marks} {IMAGE_MARK} marks for {num_images} images"
        if parts + marks > num_images > 0:
            told += f"; where {IMAGE_MARK} shall be text, write the images as parts of type image"
        raise BadDataError("image marks", told)


def _check_tags(asked: Sequence[Turn]) -> list[str]:
    texts = [text for turn in asked for text in turn.texts()]
    for text in texts:
        if found := _NAMED.search(text):
            detail = f"{found[0][:80]} in a message; write {IMAGE_MARK} and name the file in images"
            raise BadDataError("image marks", detail)
        if found := _LOST_MEDIA.match(text):
            raise BadDataError("not supported", f"a message begins with {found[0].strip()}; only images are read")
    return [TAGS_AS_TEXT] if any(one[0] != IMAGE_MARK for text in texts for one in _TAG.finditer(text)) else []


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
