"""The scorers that a definition can name: from the columns of a row to the rules of `cli_ray.evals.scoring`.

`build` takes the scorer and, for `strict`, our stricter reading of a definition from here.
"""

import re
from collections.abc import Callable, Sequence

from cli_ray.evals.benchmark import Doc, Graded, Judge, Messages, Scorer
from cli_ray.evals.items.cells import listed, text_of
from cli_ray.evals.own.definition import Definition, JudgePrompt
from cli_ray.evals.scoring import choice, yes_no
from cli_ray.evals.scoring.letter import find_letter
from cli_ray.evals.scoring.pattern import extracted
from cli_ray.evals.scoring.text import anls, contained, exact, relaxed, relaxed_as_written

Rule = Callable[[str, str], Graded]
"""From a right answer and a reply."""
_RULES: dict[str, Rule] = {"exact": exact, "relaxed": relaxed, "contains": contained}
_MOST_OPTIONS = 26
_YES, _NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")
_VERDICT = re.compile(
    r"[^\w.\-\u2212]*(?:(?:score|grade|rating|verdict|correctness)\b[^\w.\-\u2212]*)?"
    r"(?:(?P<right>yes|correct|true)\b|(?P<wrong>no|incorrect|wrong|false)\b"
    r"|(?P<number>\d+(?:\.\d+)?|\.\d+)(?![\d.]*\d|\w|%))",
    re.IGNORECASE,
)
"""What the answer of a judge begins with. A number is no part of a longer one."""


def scorers(definition: Definition) -> tuple[Scorer, Scorer | None]:
    """How a definition scores a reply, and the strict reading where that is another."""
    columns = definition.columns
    if definition.scorer == "letter":
        return _letters(definition, strict=False), _letters(definition, strict=True)
    if definition.scorer == "yes-no":
        return lambda doc, reply: yes_no.graded(_word(doc[columns.answer]), yes_no.first_word(reply)), None
    if definition.scorer == "anls":
        return lambda doc, reply: anls(answers(definition, doc), reply), None
    if definition.scorer == "regex":
        return _best(definition, _by_pattern(definition.pattern)), None
    if definition.scorer == "judge":
        return _best(definition, contained) if columns.answer else lambda doc, reply: Graded(None), None
    strict = _best(definition, relaxed_as_written) if definition.scorer == "relaxed" else None
    return _best(definition, _RULES[definition.scorer]), strict


def options(definition: Definition, doc: Doc) -> dict[str, str]:
    """The options of a row by letter; one that is empty is left out, and the others keep their letters.

    Raises:
        ValueError: there are more than letters.
    """
    cells = [doc[name] for name in definition.columns.options]
    if len(cells) == 1:
        cells = several if (several := listed(cells[0])) is not None else cells
    if len(cells) > _MOST_OPTIONS:
        raise ValueError(f"{len(cells)} options, but there are {_MOST_OPTIONS} letters")
    lettered = choice.lettered([text_of(cell) for cell in cells])
    return {letter: text for letter, text in lettered.items() if text.strip()}


def answers(definition: Definition, doc: Doc) -> list[str]:
    """The right answers of a row, at least one.

    Raises:
        ValueError: there is none.
    """
    cell = doc[definition.columns.answer]
    several = listed(cell)
    if isinstance(cell, str) and not all(isinstance(each, str) for each in several or ()):
        several = None  # a text such as [1, 2] is an answer itself
    texts = [text_of(each).strip() for each in ([cell] if several is None else several)]
    if not any(texts):
        raise ValueError(f"the column {definition.columns.answer!r} has no answer")
    return [text for text in texts if text]


def gold_letter(definition: Definition, doc: Doc) -> str:
    """The letter of the right option: given as such, by its text, or by its place, of which the first is 0.

    Raises:
        ValueError: the answer is none of these.
    """
    [answer, *_], letters = answers(definition, doc), options(definition, doc)
    if answer.upper() in letters:
        return answer.upper()
    by_text = [letter for letter, text in letters.items() if text.strip() == answer]
    if by_text:
        return by_text[0]
    place = chr(ord("A") + int(answer)) if answer.isdecimal() and len(answer) < 3 else ""
    if place not in letters:
        raise ValueError(f"the answer {answer[:80]!r} is no letter, text or place (from 0) of the options")
    return place


def judge(prompt: JudgePrompt, ask: Callable[[Doc, str], str]) -> Judge:
    """The judge of a definition.

    Args:
        ask: from row and reply to what it is asked.
    """

    def messages(doc: Doc, reply: str) -> Messages:
        return ({"role": "user", "content": ask(doc, reply)},)

    def read(doc: Doc, reply: str, answer: str) -> Graded | None:
        verdict = _VERDICT.match(answer)
        if verdict is None:
            return None
        score = float(verdict["number"]) / prompt.points if verdict["number"] else float(bool(verdict["right"]))
        return Graded(score, reply, "judge") if score <= 1 else None

    return Judge(messages, read, max_tokens=prompt.max_tokens, verdict_first=True)


def _best(definition: Definition, rule: Rule) -> Scorer:
    """The rule on the right answer that suits the reply best."""

    def score(doc: Doc, reply: str) -> Graded:
        graded: Sequence[Graded] = [rule(gold, reply) for gold in answers(definition, doc)]
        return max(graded, key=lambda each: each.score or 0.0)

    return score


def _letters(definition: Definition, *, strict: bool) -> Scorer:
    def score(doc: Doc, reply: str) -> Graded:
        letters = options(definition, doc)
        read = choice.stated(reply, letters) if strict else find_letter(reply, tuple(letters))
        return choice.graded(gold_letter(definition, doc), *read)

    return score


def _by_pattern(pattern: str) -> Rule:
    def rule(gold: str, reply: str) -> Graded:
        found = extracted(pattern, reply)
        if not found:
            return Graded(0.0, "", "", "unparsed")
        return Graded(exact(gold, found).score, found, "pattern")

    return rule


def _word(cell: object) -> str:
    word = text_of(cell).strip().lower()
    if word not in (*_YES, *_NO):
        raise ValueError(f"the answer {word[:80]!r} is neither yes nor no")
    return "yes" if word in _YES else "no"
