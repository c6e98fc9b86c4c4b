"""Which of our items each record of another tool is about. Pure; nothing is guessed, and what is left out is counted.

Two tools number one dataset alike or not. Numbers are believed if nearly all of them lead to an item of ours with the
record's own question and gold answer, and each pair is held to that. Otherwise a record is the one item whose texts are
its own, if there is one. `scoring` calls `matched`.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cli_ray.evals.benchmark import Benchmark, Doc
from cli_ray.evals.results.partners.records import TheirRecord

MOST = 0.75
"""Of the numbered items that agree, where numbers mean the same on both sides. By chance it is 0.5 at most."""
FEW = 0.1
"""Of the items whose gold answers agree, where these are written in ways that cannot be compared."""
_ASIDE = "please answer yes or no."
"""A sentence of questions that tools leave out."""


@dataclass(frozen=True, slots=True)
class OurItem:
    """What an item is known by; all texts as `plain` has them."""

    id: str
    row: str
    """Its number in the split."""
    unit: str
    prompt: str
    """As the default profile asks it."""
    question: str
    golds: frozenset[str]
    """The ways in which the right answer is written."""


@dataclass(frozen=True)
class Matches:
    """The outcome."""

    records: dict[str, TheirRecord]
    """By id of our item."""
    left_out: dict[str, int]
    """Records that are compared with nothing, by the reason."""


def plain(text: str) -> str:
    """A text without differences of case and white space."""
    return " ".join(text.casefold().split())


def item_of(benchmark: Benchmark, doc: Doc, row: int) -> OurItem:
    """What an item of ours is known by.

    Args:
        row: its number in the split.
    """
    name = benchmark.sample_id(doc, row)
    columns = ("answer", "answers", "label", "gt_answer", "Correct Answer")
    gold = benchmark.gold(doc)
    golds = {gold, *gold.split(" | "), *(str(doc[column]) for column in columns if column in doc)}
    return OurItem(
        id=name,
        row=str(row),
        unit=benchmark.unit(doc) if benchmark.unit else name,
        prompt=plain(benchmark.prompt(doc)),
        question=_bare(str(doc[benchmark.question])),
        golds=frozenset(_gold(text) for text in golds) - {""},
    )


def matched(items: Sequence[OurItem], records: Iterable[TheirRecord], holds_prompts: bool) -> Matches:
    """Finds the item of each record.

    Args:
        items: of the benchmark, with or without a record.
        records: in any order.
        holds_prompts: whether their questions are whole prompts.
    """
    left_out: Counter[str] = Counter()
    there = _once_each(records, left_out)
    numbered = _by_number(items, there, holds_prompts)
    if numbered is None:
        pairs = _by_texts(items, there, holds_prompts, left_out)
    else:
        pairs = []
        for record in there:
            item = numbered.get(record.number)
            if item is None:
                left_out["there is no item of this number"] += 1
            elif not _asks(item, record, holds_prompts):
                left_out["the question is another"] += 1
            else:
                pairs.append((item, record))
    pairs = _with_equal_golds(pairs, left_out)
    return Matches(_in_whole_units(items, pairs, left_out), dict(left_out))


def _once_each(records: Iterable[TheirRecord], left_out: Counter[str]) -> list[TheirRecord]:
    """The records that can be compared, those of one number once."""
    by_number: dict[str, list[TheirRecord]] = defaultdict(list)
    for record in records:
        if record.fault:
            left_out[record.fault] += 1
        elif record not in by_number[record.number]:
            by_number[record.number].append(record)
    for same in by_number.values():
        if len(same) > 1:
            left_out["several records have its number"] += len(same)
    return [same[0] for same in by_number.values() if len(same) == 1]


def _by_number(
    items: Sequence[OurItem], records: Sequence[TheirRecord], holds_prompts: bool
) -> dict[str, OurItem] | None:
    """Our items by the numbers of the records; None where these number others."""
    for table in ({item.row: item for item in items}, {item.id: item for item in items}):
        asked = [(table[one.number], one) for one in records if one.number in table]
        alike = [(item, one) for item, one in asked if _asks(item, one, holds_prompts)]
        sure = [one for item, one in alike if _gold(one.gold) in item.golds]
        share = len(asked) or 1
        if len(sure) >= MOST * share or (len(sure) < FEW * share and len(alike) >= MOST * share):
            return table
    return None


def _by_texts(
    items: Sequence[OurItem], records: Sequence[TheirRecord], holds_prompts: bool, left_out: Counter[str]
) -> list[tuple[OurItem, TheirRecord]]:
    """Pairs of an item and a record that have their texts to themselves."""
    known = sorted((item.prompt if holds_prompts else item.question, place) for place, item in enumerate(items))
    pairs: dict[str, list[tuple[OurItem, TheirRecord]]] = defaultdict(list)
    for record in records:
        text = plain(record.question) if holds_prompts else _bare(record.question)
        alike = [items[place] for place in _beginning(known, text) if _asks(items[place], record, holds_prompts)]
        sure = alike if len(alike) == 1 else [item for item in alike if _gold(record.gold) in item.golds]
        if len(sure) == 1:
            pairs[sure[0].id].append((sure[0], record))
        else:
            left_out["several items ask the same" if alike else "no item asks this"] += 1
    for several in pairs.values():
        if len(several) > 1:
            left_out["several records ask the same"] += len(several)
    return [several[0] for several in pairs.values() if len(several) == 1]


def _beginning(known: Sequence[tuple[str, int]], text: str) -> Iterator[int]:
    """The numbers of sorted texts that begin with a text."""
    for place in range(bisect_left(known, (text, -1)), len(known) if text else 0):
        if not known[place][0].startswith(text):
            return
        yield known[place][1]


def _with_equal_golds(
    pairs: list[tuple[OurItem, TheirRecord]], left_out: Counter[str]
) -> list[tuple[OurItem, TheirRecord]]:
    """The pairs with one right answer; all where the two write it in ways that cannot be compared."""
    equal = [(item, record) for item, record in pairs if _gold(record.gold) in item.golds]
    if len(equal) < FEW * len(pairs):
        return pairs
    if len(equal) < len(pairs):
        left_out["the gold answer is another"] += len(pairs) - len(equal)
    return equal


def _in_whole_units(
    items: Sequence[OurItem], pairs: list[tuple[OurItem, TheirRecord]], left_out: Counter[str]
) -> dict[str, TheirRecord]:
    """The records of units, which are scored together, that lack no item."""
    there = {item.id: record for item, record in pairs}
    broken = {item.unit for item in items if item.id not in there}
    whole = {item.id: record for item, record in pairs if item.unit not in broken}
    if len(whole) < len(there):
        left_out["other items of its unit are left out"] += len(there) - len(whole)
    return whole


def _asks(item: OurItem, record: TheirRecord, holds_prompts: bool) -> bool:
    """Whether the record's question is the item's: in it word for word, whatever instructions come with it; or, where
    a tool keeps options apart, without them."""
    asked = plain(record.question)
    if holds_prompts:
        return asked == item.prompt or (bool(item.question) and item.question in asked)
    asked = _bare(record.question)
    if asked == item.question:
        return True
    options = [plain(option) for option in record.options]
    return bool(asked and options) and item.question.startswith(asked) and all(one in item.prompt for one in options)


def _bare(question: str) -> str:
    return plain(question).removesuffix(_ASIDE).rstrip()


def _gold(text: str) -> str:
    return plain(text).strip("(). ")
