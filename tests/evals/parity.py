"""Parity with lmms-eval 0.7.3: made-up replies scored by both.

`python -m tests.evals.parity [ROUNDS]` prints counts.
"""

import copy
import importlib
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from cli_ray import evals
from cli_ray.evals.benchmark import Metrics
from cli_ray.evals.score import AskJudge
from tests.evals import oracle
from tests.evals.replies import made_up

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How the scores of a benchmark are compared. Modules `cases_*.py` hold lists of these under `PARITIES`."""

    name: str
    docs: Callable[[random.Random], list[Document]]
    """Made-up documents, a few dozen; of each unit either all or none."""
    words: Callable[[Document], Sequence[str]]
    """What replies are made from: gold answers, options, other words."""
    theirs: Callable[[Document, str], float] | None = None
    """Upstream's score of a stripped reply, 0 to 1; it may write to the document. Without it only aggregates are
    compared."""
    cuts_reasoning: bool = False
    """Whether upstream's functions cut reasoning themselves, since a filter of the task comes before; else they are
    given replies without it."""
    aggregates: Callable[[list[Document], list[str]], Metrics] | None = None
    """Upstream's metrics under our names and in our units, for all documents and their stripped replies."""
    judge: AskJudge | None = None


@dataclass
class Outcome:
    """What a comparison found."""

    replies: int = 0
    metrics: int = 0
    right: float = 0.0
    """Sum of our scores: near 0 or all would make the comparison worthless."""
    disagreements: list[str] = field(default_factory=list)


def compare(parity: Parity, rounds: int, seed: int = 0) -> Outcome:
    """Scores replies to `rounds` sets of documents by both, item by item and as aggregates, and sees to it that our
    scoring leaves documents alone and gives the same twice."""
    rng = random.Random(f"{parity.name} {seed}")
    outcome = Outcome()
    for _ in range(rounds):
        docs = parity.docs(rng)
        replies = [made_up(rng, parity.words(doc)).strip() for doc in docs]
        given = replies if parity.cuts_reasoning else [oracle.without_reasoning(reply) for reply in replies]
        before = copy.deepcopy(docs)
        ours = evals.score(parity.name, docs, replies, parity.judge)
        assert docs == before, "documents were changed"
        assert evals.score(parity.name, docs, replies, parity.judge) == ours, "another call gave other scores"
        if parity.theirs:
            outcome.replies += len(replies)
            for doc, reply, sample in zip(docs, given, ours.samples, strict=True):
                theirs = parity.theirs(copy.deepcopy(doc), reply)
                outcome.right += sample.score or 0.0
                if sample.score is None or not isclose(sample.score, theirs, rel_tol=0, abs_tol=1e-9):
                    outcome.disagreements.append(f"{reply!r} on {doc}: ours {sample.score}, theirs {theirs}")
        if parity.aggregates:
            for name, value in parity.aggregates(copy.deepcopy(docs), given).items():
                outcome.metrics += 1
                if not isclose(ours.metrics[name], value, rel_tol=0, abs_tol=1e-6):
                    outcome.disagreements.append(f"{name}: ours {ours.metrics[name]}, theirs {value}")
    return outcome


def every_parity() -> list[Parity]:
    """Those of all modules `cases_*.py` beside this one."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    return [one for name in names for one in importlib.import_module(f"tests.evals.{name}").PARITIES]


def main(rounds: int) -> None:
    """Prints replies and metrics compared, the share we score as right, and disagreements, by benchmark."""
    print(f"{'benchmark':20}{'replies':>9}{'right %':>9}{'metrics':>9}{'disagree':>10}")
    total = Outcome()
    for parity in every_parity():
        found = compare(parity, rounds)
        share = f"{100 * found.right / found.replies:.1f}" if found.replies else "-"
        print(f"{parity.name:20}{found.replies:9}{share:>9}{found.metrics:9}{len(found.disagreements):10}")
        print("".join(f"    {line}\n" for line in found.disagreements[:3]), end="")
        total.replies += found.replies
        total.metrics += found.metrics
        total.disagreements += found.disagreements
    print(f"{'all':20}{total.replies:9}{'':>9}{total.metrics:9}{len(total.disagreements):10}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
