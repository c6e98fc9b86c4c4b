"""The letter that a reply states without doubt: our strict reading. What may mean two options is not read."""

import re
from collections.abc import Sequence
from functools import lru_cache

from cli_ray.evals.scoring.option_text import EAST_ASIAN, bounded, spaced

NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: ord(" ")}
"""From the wide forms of ASCII in East Asian fonts to the narrow ones."""

_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit)\s*\{([^{}]*)\}")
_MARKS = re.compile(r"[*_`\"“”$【】「」『』]|\\[()\[\]]")

STATES = (
    r"(?:(?i:\b(?:answer|option|choice|letter)(?: (?:to|for|of|here)\b[^.:\n]{0,80}?)?"
    r"(?: (?:is|was|would be|should be|must be|will be)\b(?: (?:\w+ly|thus|then)\b)?| ?[:=])"
    r"|\b(?:choose|pick|select|go(?:ing)? (?:with|for))\b|\bans[.:]|<answer>|<\|begin_?of_?box\|>|\\boxed *\{)"
    r"|(?:答案|(?:正确|最佳)的?选项)(?:应该|应当|应)?(?:是|为|选)?|选(?!项)择?|答えは|正解は|정답은|답은|답(?=:))"
    r"[^\w.,;!?]*"
)
"""What stands before an answer that is stated: words, tags and boxes."""
_SUGGESTS = r"(?i:\b(?:(?:so|thus|therefore|hence)\b,?|(?:think|believe|it is|it's)\b))[^\w.,;!?]*"
"""What is weaker than a letter on a line of its own."""
_VERB = r"(?:is|was|seems(?: to be)?|appears(?: to be)?|must be|would be|should be)(?: \w+ly)?"
_BEST = r"(?:correct|right|best|most \w+|only (?:correct|right))"
_ENDS = rf"(?= *(?:$|[^\w ]|(?:because|since|as)\b|[{EAST_ASIAN}]))"
"""What follows a letter that is no word: an article has a noun behind it."""

_BEFORE = (
    r"\b(?:not|\w+n't|cannot|neither|wrong|incorrect|rather than|instead of|eliminat\w+|exclud\w+|rul\w+ out)"
    r"(?: (?:be|is|are|to|the|an?|options?|choices?|answers?|think|say|choose|pick|select))*"
)
_DENIED = r"(?: (?:be|been|also|\w+ly))* (?:not|wrong|incorrect|false|eliminated|excluded|ruled out)"
_AFTER_ALL = rf"(?:(?:are|were|seem|do|can|could|would|should|must){_DENIED}|cannot|(?!is|was|does)\w+n't)\b"
_AFTER_ONE = rf"(?:(?:is|was|seems|does){_DENIED}|(?:is|was|does)n't)\b"
"""What denies the names behind it, such as `not` and `rather than`, or before it, all of several or the last one."""
_BEFORE_EAST = "(?:不是|不选|不会是|并非|而非|排除)(?:选项)? ?"
_AFTER_EAST = " ?(?:选项)?(?:是|都)?(?:不正确|不对|错)"


_DENIES = re.compile(
    "not|n't|neither|wrong|incorrect|false|rather|instead|eliminat|exclud|rul|[不非除错]", re.IGNORECASE
)
"""A part of every word that denies."""


def denials(reply: str, names: Sequence[str]) -> list[str]:
    """The passages of a reply that deny one of the names, or several: `not (A)`, `A and C are wrong`.

    Case counts in names of one character only: the article in "not a dog" is no letter.
    """
    text = plain(reply)
    # Names differ from item to item, and a pattern of them takes milliseconds to make.
    return [match[0] for match in _denial(tuple(names)).finditer(text)] if _DENIES.search(text) else []


def plain(reply: str) -> str:
    """Narrow characters and straight apostrophes, without LaTeX around text and marks of emphasis and quotation, and
    with a space between Latin letters and East Asian ones."""
    text = reply.translate(NARROW).replace("\u2019", "'")
    return spaced(_MARKS.sub("", _LATEX.sub(r"\1", text)))


def unwrapped(reply: str) -> str:
    """What stands in the last `<answer>` tag, or else in the last `\\boxed{}`; the reply itself without either."""
    for start, end in (("<answer>", "</answer>"), ("<|begin_of_box|>", "<|end_of_box|>")):
        _, opened, tagged = reply.rpartition(end)[0].rpartition(start)
        if opened and tagged.strip():
            return tagged.strip()
    boxed = re.findall(r"\\boxed *\{((?:[^{}]|\{[^{}]*\})*)\}", reply)
    return _LATEX.sub(r"\1", boxed[-1]).strip() if boxed and boxed[-1].strip() else reply


def read_letter(reply: str, choices: Sequence[str] = "ABCD") -> tuple[str, str]:
    """The letter that a reply states without doubt and the rule that read it; both empty when there is none.

    In this order: it is said to be the answer (the last statement counts; one of several letters, such as `A or B`,
    leaves the reply unread); it has a line of its own; it stands behind a word such as "so"; it starts a line, with a
    dot, colon or bracket behind it; it is the only one in brackets or behind a word such as "option". Where a rule
    finds several letters, the next is tried. A letter of a word, an article, or a letter that the reply denies is none.
    """
    letters = "".join(choices)
    text = _denial(tuple(choices)).sub(" ", plain(reply))
    for rule, pattern, last_counts in _readings(letters):
        stated = [_letter(match) for match in pattern.finditer(text)]
        if stated and (last_counts or len(set(stated)) == 1):
            return (stated[-1], rule) if stated[-1] else ("", "")
    return "", ""


def _letter(match: re.Match[str]) -> str:
    """The letter in one of the groups of a match; empty if group `more` makes several of it."""
    groups = match.groupdict()
    return "" if groups.pop("more", None) else next(group for group in groups.values() if group).upper()


@lru_cache
def _readings(letters: str) -> tuple[tuple[str, re.Pattern[str], bool], ...]:
    """The rules, the surest first, each with its pattern and whether the last match counts or all have to agree."""
    small = letters.lower()
    named = _named(letters)
    behind = (
        rf"(?<!\bor )(?<!\band )(?<![\w(/])\(?(?P<behind>[{letters}])\)?"
        rf"(?: {_VERB} (?:(?:correct|right){_ENDS}|the (?:{_BEST} )?(?:answer|option|choice)\b)"
        rf"| (?:as )?the {_BEST} (?:answer|option|choice)\b| ?(?:选项)?(?:是|为)?(?:正确|对的|正解))"
        rf"|\((?P<most>[{letters}])\) {_VERB} (?:the )?most \w+"
    )
    below = (
        rf"\b(?:is|be|that|say|towards?):[ \t]*\n\W*(?P<below>[{letters}])[).:]"
        rf"(?![^\n]*\n+\W*[{letters}][).:])"
    )
    only = (
        rf"\((?P<bracketed>[{letters}{small}])\)|(?P<before>[{letters}]) ?选项"
        rf"|(?:\b(?i:answer|option|choice) |选项:? ?)\(?(?P<named>[{letters}])(?!\w|['-]\w)"
    )
    alone = rf"(?![^\n]*(?<!\w)(?!(?P=start))[{letters}](?:[:)]|\. [a-z]))"
    rules = (
        ("letter stated as answer", f"{STATES}{named}|{behind}|{below}", True),
        ("letter alone", rf"(?m)^[^\w\n]*(?P<alone>[{letters}{small}])[^\w\n]*$", False),
        ("letter suggested", f"{_SUGGESTS}{named}", True),
        ("letter at start", rf"(?m)^[^\w\n]*(?P<start>[{letters}])[.:)](?![\w/&]| (?:or|and)\b){alone}", False),
        ("only letter named", only, False),
    )
    return tuple((rule, re.compile(pattern), last_counts) for rule, pattern, last_counts in rules)


def _named(letters: str) -> str:
    """A pattern of a letter behind words that state it. A bracket makes it sure whatever follows; group `more` holds
    what makes several letters of it."""
    small = letters.lower()
    another = (
        r" *(?:[,/&、;]|\b(?:or|and)\b|和|或|还是) *(?:(?:or|and)\b *)?(?:(?i:option|choice) )?"
        rf"(?:\([{letters}{small}]\)|[{letters}](?!\w|'\w))"
    )
    bracketed = rf"\(?(?P<sure>[{letters}{small}])\)"
    bare = rf"(?P<bare>[{letters}])(?!\w|['-]\w|\.[A-Z]\.)(?:{_ENDS}|(?={another}))"
    at_end = rf"(?P<small>[{small}])(?=[.}}<\s]*(?:\n|$|</))"
    return rf"(?:(?i:option|choice) |选项 ?)?(?:{bracketed}|{bare}|{at_end})(?P<more>{another})?"


@lru_cache(maxsize=256)
def _denial(names: tuple[str, ...]) -> re.Pattern[str]:
    """Passages that deny one of the names or several."""
    # A bare I is the writer, who "cannot tell" and "does not think so".
    bare = (word for word in names if word not in ("", "I"))
    known = "|".join(bounded(word) if len(word) == 1 else f"(?i:{bounded(word)})" for word in bare) + r"|(?<=\()I(?=\))"
    name = rf"\(?(?:{known})\)?"
    # Lists are bounded, as otherwise each place in a reply that is one long list would be tried to its end.
    some = rf"{name}(?:(?:(?:, |、){name}){{0,7}}(?:,? (?:and|or|nor|&) | ?(?:和|或|、) ?){name}){{0,7}}"
    before = rf"(?:(?i:{_BEFORE}) |{_BEFORE_EAST}){some}"
    return re.compile(rf"{some}(?: (?i:{_AFTER_ALL})|{_AFTER_EAST})|{name} (?i:{_AFTER_ONE})|{before}")
