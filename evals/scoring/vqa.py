"""VQA accuracy and its two normalisers (TextVQA, VizWiz, VQAv2). As `vqa_eval_metric.py` of lmms-eval 0.7.3."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import fsum
from typing import Any

from cli_ray.evals.benchmark import Graded

_DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {
    word[: mark.start()] + word[mark.end() :]: word for word in _CONTRACTED.split() for mark in re.finditer("'", word)
} | {"somebody'd": "somebodyd"}
"""Words with one apostrophe left out, and the one that upstream writes without."""


def normal(text: str) -> str:
    """The full normaliser: lower case, no commas and question marks, then `short_normal`."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return short_normal(text)


@lru_cache(maxsize=1 << 16)  # the ten answers of an item are much alike
def short_normal(text: str) -> str:
    """The normaliser of VQAv2: no punctuation, no articles, lower case, digits for number words, contractions."""
    words = without_marks(text.replace("\n", " ").replace("\t", " ").strip()).lower().split()
    words = [_DIGITS.get(word, word) for word in words]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def without_marks(text: str) -> str:
    """A mark that touches a space anywhere is dropped, another becomes a space. Of dots not before a digit, only the
    first 32 are dropped: upstream hands a flag over as a count."""
    commas = re.search(r"(?<=\d),+(?=\d)", text)
    out = text
    for mark in _MARKS:
        out = out.replace(mark, "" if commas or f"{mark} " in text or f" {mark}" in text else " ")
    return re.sub(r"\.(?!\d)", "", out, count=32)


def agreement(reply: str, golds: Sequence[str]) -> float:
    """The mean, over ways to leave one person's answer out, of a third per equal answer of the others, at most 1."""
    equal = [gold == reply for gold in golds]
    return fsum(min(1.0, (sum(equal) - own) / 3) for own in equal) / len(golds) if golds else 0.0


def agreement_of_entries(reply: str, entries: Sequence[Mapping[str, Any]]) -> float:
    """`agreement` with normalised `answer`s beside other fields (VQAv2): the others are the entries that differ."""
    shares = []
    for entry in entries:
        equal = sum(other != entry and other["answer"] == reply for other in entries)
        shares.append(min(1.0, equal / 3))
    return fsum(shares) / len(shares) if shares else 0.0


def graded(golds: Sequence[str], reply: str) -> Graded:
    """The agreement of a reply with people's answers, all under the full normaliser."""
    parsed = normal(reply)
    return Graded(agreement(parsed, [normal(gold) for gold in golds]), parsed, "text", "ok" if reply else "unparsed")
