"""Benchmarks with the prompts of VLMEvalKit, read as it reads replies without a judge: `--prompts vlmevalkit`.

The wording moves scores more than many models do. Each is the benchmark of `evals/benchmarks` with other words, longer
replies and another reading, on the same items; `cli_ray.evals.suite` hands them out. They ask what the datasets of
VLMEvalKit ask by themselves; its wrappers of some models ask otherwise, see docs/evaluation.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Scorer
from cli_ray.evals.benchmarks import (
    ai2d,
    chartqa,
    hallusionbench,
    mmbench,
    mmmu,
    mmstar,
    ocrbench,
    pope,
    realworldqa,
    scienceqa,
    seed,
)
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.prompts.vlmevalkit import (
    SELECT,
    choice,
    images_named,
    on_lines,
    under_heading,
    with_images_between,
)
from cli_ray.evals.scoring.choice import graded, indexed, lettered
from cli_ray.evals.scoring.vlmevalkit import infer, yes_or_no

MAX_NEW_TOKENS = 2048
"""Of all replies, which nothing asks to be short; as VLMEvalKit's LLaVA has it."""

Options = Callable[[Doc], Mapping[str, str]]


def _worded(base: Benchmark, prompt: Callable[[Doc], str], score: Scorer, **changes: Any) -> Benchmark:
    """The benchmark with other words; published numbers, which are of its own, do not stand beside it."""
    values: dict[str, Any] = {"scores_reasoning": False, "upstream_notes": (), "references": {}} | changes
    return replace(base, prompts="vlmevalkit", prompt=prompt, score=score, max_new_tokens=MAX_NEW_TOKENS, **values)


def _lettered(
    base: Benchmark, options: Options, gold: Callable[[Doc], str], hint: Callable[[Doc], str] = lambda doc: ""
) -> Benchmark:
    """A benchmark whose documents have a question and options apart."""
    return _worded(
        base,
        lambda doc: choice(doc["question"], options(doc), hint(doc)),
        lambda doc, reply: graded(gold(doc), *infer(reply, options(doc))),
    )


def _column(name: str) -> Options:
    return lambda doc: lettered(doc[name])


def _mmstar_prompt(doc: Doc) -> str:
    question, options = under_heading(doc["question"])
    return choice(question, options) if options else f"{choice(question, {})}{SELECT}"


def _mmstar_score(doc: Doc, reply: str) -> Graded:
    _, options = under_heading(doc["question"])
    return graded(mmstar.gold(doc), *infer(reply, options or dict.fromkeys("ABCD", "")))


def _realworldqa_score(doc: Doc, reply: str) -> Graded:
    """A letter by its options, a text as lmms-eval reads it."""
    _, options = on_lines(doc["question"])
    return realworldqa.graded_by(doc, reply, lambda text, letters: infer(text, options or dict.fromkeys(letters, "")))


def _mmmu_text(doc: Doc) -> str:
    return choice(doc["question"], mmmu.options(doc))


def _mmmu_images(doc: Doc) -> list[str]:
    """In the order of the text, as often as it names them; all of an item whose text names none."""
    return [f"image_{number}" for number in images_named(_mmmu_text(doc))] or list(mmmu.MMMU_VAL.image_columns)


def _mmmu_score(doc: Doc, reply: str) -> Graded:
    """An open question is a choice between its answer, A, and others; a letter as its answer is the right one."""
    if mmmu.is_choice(doc):
        return graded(doc["answer"], *infer(reply, mmmu.options(doc)))
    gold = doc["answer"] if doc["answer"] in tuple(ascii_uppercase) else "A"
    return graded(gold, *infer(reply, {"A": doc["answer"], "B": "Other Answers"}))


def _mmmu_hidden(doc: Doc, reply: str) -> Graded:
    if not mmmu.is_choice(doc):
        return Graded(None, reply, "open answer", "ok" if reply else "unparsed")
    return mmbench.hidden_letter(*infer(reply, mmmu.options(doc)))


def _mmmu(base: Benchmark, score: Scorer) -> Benchmark:
    return _worded(
        base,
        lambda doc: with_images_between(_mmmu_text(doc)),
        score,
        shown=_mmmu_images,
        upstream_notes=(
            "An open question is read as a choice between its answer and `Other Answers`, as VLMEvalKit does.",
        ),
    )


def _question(doc: Doc) -> str:
    return str(doc["question"])


def _said(gold: Callable[[Doc], str]) -> Scorer:
    return lambda doc, reply: graded(gold(doc), *yes_or_no(reply))


def _mmbench(base: Benchmark) -> Benchmark:
    return _lettered(base, mmbench.options, lambda doc: str(doc["answer"]), mmbench.hint)


def _mmbench_test(base: Benchmark) -> Benchmark:
    return replace(_mmbench(base), score=lambda doc, reply: mmbench.hidden_letter(*infer(reply, mmbench.options(doc))))


_WORDED = (
    _lettered(ai2d.AI2D, _column("options"), indexed),
    _worded(chartqa.CHARTQA, lambda doc: f"{doc['question']}{SHORT}", chartqa.CHARTQA.score),
    _worded(ocrbench.OCRBENCH, _question, lambda doc, reply: ocrbench.contained(doc, reply, ocrbench.in_one_line)),
    _mmbench(mmbench.EN_DEV),
    _worded(mmstar.MMSTAR, _mmstar_prompt, _mmstar_score, headline="accuracy", strict_headline="", linear=True),
    _mmmu(mmmu.MMMU_VAL, _mmmu_score),
    _lettered(scienceqa.SCIENCEQA_IMG, _column("choices"), indexed, lambda doc: doc["hint"] or ""),
    _lettered(seed.SEED_IMAGE, seed.options, seed.gold),
    _worded(pope.POPE, _question, _said(lambda doc: pope.gold(doc["answer"])), aggregate=pope.POPE.strict_aggregate),
    _worded(realworldqa.REALWORLDQA, lambda doc: choice(*on_lines(doc["question"])), _realworldqa_score),
    _mmbench(mmbench.CN_DEV),
    _worded(
        hallusionbench.HALLUSIONBENCH,
        _question,
        _said(hallusionbench.gold),
        notes=(
            "Replies are read by rules, where the authors ask GPT-4; their questions without a figure are not asked; "
            "`average` is that of aAcc, qAcc and fAcc.",
        ),
    ),
    _mmbench_test(mmbench.EN_TEST),
    _mmmu(mmmu.MMMU_TEST, _mmmu_hidden),
    _mmbench_test(mmbench.CN_TEST),
)
VLMEVALKIT: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _WORDED}
"""By name, in the order of tables."""
