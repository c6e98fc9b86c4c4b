"""The letter of an option in a reply: as `_task_utils/mcq_extract.py` of lmms-eval 0.7.3, and our stricter reading."""

import re
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
    found = [
        (priority, text.rfind(shape.format(letter)), rule, letter)
        for priority, rule, shape in _SHAPES
        for letter in choices
    ]
    found += [(7, place, "letter after a phrase", letter) for place, letter in _after_phrases(text, choices)]
    bare = bare.strip()
    for letter in choices:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            found.append((10, 0, "letter at start", letter))
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            found.append((9, 0, "letter at end", letter))
    found = [one for one in found if one[1] >= 0] or [
        (0, text.rfind(letter), "any letter", letter) for letter in choices
    ]
    _, place, rule, letter = max(found)
    return (letter, rule) if place >= 0 else ("", "")


def _after_phrases(text: str, choices: Sequence[str]) -> list[tuple[int, str]]:
    """Place and letter of the first of each letter after the first of each phrase; the place is -1 where none is."""
    lower = text.lower()
    ends = [lower.find(phrase) + len(phrase) for phrase in _PHRASES if phrase in lower]
    return [(text.find(letter, end), letter) for end in ends for letter in choices]


_STATED = "letter stated as answer"
_BEFORE = (
    r"\b(?:not|\w+n't|cannot|neither|wrong|incorrect|rather than|instead of|eliminat\w+|exclud\w+|rul\w+ out)"
    r"(?: (?:be|is|are|to|the|an?|options?|choices?|answers?|think|say|choose|pick|select))*"
)
_AFTER = (
    r"(?:(?:is|are|was|were|seems?|do|does|can|could|would|should|must)(?: (?:be|been|also|\w+ly))*"
    r" (?:not|wrong|incorrect|false|eliminated|excluded|ruled out)|cannot|\w+n't)\b"
)
"""What denies the names behind it, such as `not` and `rather than`, or before it, such as `is wrong`."""


def denials(reply: str, names: Sequence[str]) -> list[str]:
    """The passages of a reply that deny one of the names, or several: `not (A)`, `A and C are wrong`.

    Case counts in names of one character only: the article in "not a dog" is no letter.
    """
    return [found[0] for found in _denial(names).finditer(_plain(reply))]


def _plain(reply: str) -> str:
    """Without marks of emphasis and quotation, and with straight apostrophes."""
    return re.sub(r"[*_`\"“”]", "", reply).replace("\u2019", "'")


def _denial(names: Sequence[str]) -> re.Pattern[str]:
    known = "|".join(re.escape(name) if len(name) == 1 else f"(?i:{re.escape(name)})" for name in names if name)
    one = rf"\(?(?<!\w)(?:{known})(?!\w)\)?"
    # Lists are bounded, as otherwise each place in a reply that is one long list would be tried to its end.
    some = rf"{one}(?:(?:, {one}){{0,7}},? (?:and|or|nor|&) {one}){{0,7}}"
    return re.compile(rf"{some} (?i:{_AFTER})|(?i:{_BEFORE}) {some}")


def read_letter(reply: str, choices: Sequence[str] = "ABCD") -> tuple[str, str]:
    """The letter that a reply states without doubt and the rule that read it; both empty when there is none.

    In this order: it has a line of its own; it is said to be the answer (the last counts); it starts a line, with a
    dot, colon or bracket behind it; it is the only one in brackets or behind a word such as "option". Where a rule
    finds several letters, the next is tried. A letter of a word, an article, or a letter that the reply denies is none.
    """
    text = _denial(choices).sub(" ", _plain(reply))
    letters = "".join(choices)
    for rule, pattern in _readings(letters):
        found = ["".join(groups).upper() for groups in re.findall(pattern, text)]
        if len(set(found)) == 1 or (found and rule == _STATED):
            return found[-1], rule
    return "", ""


def _readings(letters: str) -> tuple[tuple[str, str], ...]:
    """Our rules, the surest first, each with a pattern whose two groups hold the letter."""
    one = rf"\(?([{letters}])\)?(?![\w)'/&-])"
    ends = r" *(?:$|[^\w ]|(?:because|since|as)\b)"
    said = r"(?i:\b(?:(?:answer|option|choice)(?: is\b|:)|(?:choose|pick|select|so|thus|therefore|hence)\b,?))"
    before = rf"{said}[^\w.,;!?]*(?i:option |choice )?{one}(?!, ?\(?[{letters}]\b)(?={ends})"
    right = rf"(?:(?:correct|right)(?={ends})|the (?:(?:correct|right|best) )?(?:answer|option|choice)\b)"
    behind = rf"(?<!\bor )(?<!\band )(?<![\w(]){one} is (?:{right})"
    return (
        ("letter alone", rf"(?m)^[^\w\n]*([{letters}{letters.lower()}])[^\w\n]*$()"),
        (_STATED, f"{before}|{behind}"),
        ("letter at start", rf"(?m)^[^\w\n]*([{letters}])[.:)](?![\w/&]| (?:or|and)\b)()"),
        ("only letter named", rf"\(([{letters}])\)|\b(?i:answer|option|choice) \(?([{letters}])(?![\w'-])"),
    )
