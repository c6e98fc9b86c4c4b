"""The letter of an option in a reply, as `_task_utils/mcq_extract.py` of lmms-eval 0.7.3 finds it."""

from collections.abc import Sequence

_PHRASES = (
    *(the + of + "answer is" for of in ("", "correct ", "best ") for the in ("", "the ")),
    *(the + of + "option is" for of in ("correct ", "best ") for the in ("", "the ")),
    *(the + of + "choice is" for of in ("", "correct ") for the in ("", "the ")),
    "i choose", "i select", "i pick", "my answer is", "my choice is",
    "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは",
)  # fmt: skip
"""What stands before a letter. Only the first place of each counts, so longer forms of a phrase matter."""

_SHAPES = (
    (6, "letter in brackets", "({})"),
    (5, "letter and dot", "{}."),
    (4, "letter and colon", "{}:"),
    (3, "letter and bracket", "{})"),
    (2, "letter and space", "{} "),
)


def find_letter(reply: str, choices: Sequence[str] = "ABCDEFGH") -> tuple[str, str]:
    """The likeliest letter in a reply and the rule that found it; both empty when there is none.

    The surest rule wins, and the last place it applies to. Its tests are of substrings, as upstream's are: the article
    in "A dog" counts as the letter A, and "ABC" gives C.
    """
    bare = reply.strip()
    for mark in ",.!?;:'\"":
        bare = bare.strip(mark)
    text = f" {bare} "
    candidates = [
        (priority, text.rfind(shape.format(letter)), rule, letter)
        for priority, rule, shape in _SHAPES
        for letter in choices
    ]
    candidates += [(7, place, "letter after a phrase", letter) for place, letter in _after_phrases(text, choices)]
    bare = bare.strip()
    for letter in choices:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            candidates.append((10, 0, "letter at start", letter))
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            candidates.append((9, 0, "letter at end", letter))
    candidates = [candidate for candidate in candidates if candidate[1] >= 0] or [
        (0, text.rfind(letter), "any letter", letter) for letter in choices
    ]
    _, place, rule, letter = max(candidates)
    return (letter, rule) if place >= 0 else ("", "")


def _after_phrases(text: str, choices: Sequence[str]) -> list[tuple[int, str]]:
    """Place and letter of the first of each letter after the first of each phrase; the place is -1 where none is."""
    lower = text.lower()
    ends = [lower.find(phrase) + len(phrase) for phrase in _PHRASES if phrase in lower]
    return [(text.find(letter, end), letter) for end in ends for letter in choices]
