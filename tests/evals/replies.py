"""Replies as models give them, and worse ones: made up from the words of a question by seeded chance."""

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

NASTY: list[str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
NASTY += ["x" * 700, "the answer " * 60, "a. b. c. " * 20]
"""Picked by hand."""

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

_ENDS = (".", "!", "?", ",", "..", "。", "%", " %", "'s", "'", "\n", " ", ".\n\nBecause")
_STARTS = ("a ", "an ", "the ", "The ", "$", "about ", "-", " ", "\n", "'", "(", "No, ")
_FRAMES = (
    "The answer is {}.", "answer: {}", "It is {}", "{} or something", "I think {}, not B", "({})", '"{}"', "**{}**",
    "Yes, {}", "No. {}", "{}\nExplanation: A.", "The correct option is ({}).", "I'm not sure, maybe {}?", "A. {}",
    "{} is the best answer. My answer is {}", "B. {}", "Answer is {} because of A", "{}: C", "(A) {}",
)  # fmt: skip

Change = Callable[[random.Random, str], str]


def _marked(rng: random.Random, text: str) -> str:
    place = rng.randint(0, len(text))
    return text[:place] + rng.choice(".,;:!?'\"-_/()[]{}<>@`=+\\% \n\t*$&") + text[place:]


def _cut(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + text[place + 1 :]


def _digits(rng: random.Random, text: str) -> str:
    return re.sub(r"\b\d\b", lambda found: _NUMBERS[int(found[0])], text)


def _nudged(rng: random.Random, text: str) -> str:
    """Numbers a few percent off."""
    share = rng.choice((0.9, 0.94, 0.95, 0.951, 0.99, 1.01, 1.05, 1.0501, 1.06))
    return re.sub(r"\d+(\.\d+)?", lambda found: f"{float(found[0][:15]) * share:g}", text)


def _thought(rng: random.Random, text: str) -> str:
    """With reasoning around it, or tags of it that do not fit together."""
    start, end = rng.choice((("<think>", "</think>"), ("<analysis>", "</analysis>"), ("<THINK>", "</THINK>")))
    frames = (
        "{0}So B? yes{1}{2}",
        "{0}\nA.\n{1}\n\n{2}",
        "no, 12{1}{2}",
        "{0}{2}",
        "{2}{0}",
        "{1}{2}{0}",
        "{0}{0}C{1}{2}{1}",
    )
    return rng.choice(frames).replace("{0}", start).replace("{1}", end).replace("{2}", text)


def _thousands(rng: random.Random, text: str) -> str:
    return re.sub(r"\d{4,}", lambda found: f"{int(found[0][:15]):,}", text)


CHANGES: tuple[Change, ...] = (
    lambda rng, text: text.upper(),
    lambda rng, text: text.lower(),
    lambda rng, text: text.capitalize(),
    lambda rng, text: text.title(),
    lambda rng, text: text + rng.choice(_ENDS),
    lambda rng, text: rng.choice(_STARTS) + text,
    lambda rng, text: rng.choice(_FRAMES).replace("{}", text),
    lambda rng, text: text.translate(_WIDE),
    lambda rng, text: text.replace(" ", rng.choice(("", "  ", "\n", "\t", "-", "\u3000", "\u00a0"))),
    lambda rng, text: text.replace("'", rng.choice(("", "\u2019", " '"))),
    lambda rng, text: text[::-1],
    lambda rng, text: " ".join(text.split()[:2]),
    lambda rng, text: f"{text} {text}",
    _marked,
    _cut,
    _digits,
    _nudged,
    _thousands,
    _thought,
)  # fmt: skip


def made_up(rng: random.Random, words: Sequence[str]) -> str:
    """A reply: one of the words with up to four changes, or one of those picked by hand, perhaps changed too."""
    text = rng.choice(words) if words and rng.random() < 0.75 else rng.choice(NASTY)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 2, 3, 4))):
        text = rng.choice(CHANGES)(rng, text)
    return text
