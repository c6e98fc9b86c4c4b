"""Comparisons with lmms-eval 0.7.3 for judged benchmarks. The canned judge answers by a hash of what it is asked, so
that scores agree only if both ask the same, to the letter."""

import random
from collections.abc import Callable, Sequence
from string import ascii_uppercase
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from cli_ray.evals.benchmark import Messages, Metrics
from cli_ray.evals.records import digest
from cli_ray.evals.score import AskJudge
from tests.evals import oracle
from tests.evals.parity import Document, Parity

TEXTS = ("a dog", "3/11", "12 cm", "Paris", "yes", "no", "red and blue", "x = 2", "(C)", "None", "1.5", "{braces}")


def _drawn(answers: Sequence[str], prompt: str) -> str:
    return answers[int(digest(prompt), 16) % len(answers)]


def _canned(answers: Sequence[str]) -> AskJudge:
    def judge(messages: Messages) -> str:
        (message,) = messages
        assert message["role"] == "user"
        return _drawn(answers, message["content"])

    return judge


def _many(make: Callable[[random.Random, int], Document], count: int) -> Callable[[random.Random], list[Document]]:
    return lambda rng: [make(rng, number) for number in range(count)]


GRADES = ("0.0", "0.1", "0.5", "0.8", "1.0", "1", "0", "0.4 as only one is named", " 0.9 ", "1e-1")


def _mmvet_doc(rng: random.Random, number: int) -> Document:
    gold = rng.choice(("<AND>", "<OR>")).join(rng.sample(TEXTS, rng.randint(1, 3)))
    abilities = ",".join(rng.sample(("rec", "ocr", "know", "gen", "spat", "math"), rng.randint(1, 3)))
    return {"question_id": f"v1_{number}", "question": "Which?", "answer": gold, "capability": abilities}


def _mmvet_row(doc: Document, reply: str) -> Any:
    utils = oracle.load("tasks.mmvet.utils")
    with patch.object(utils, "get_chat_response", lambda prompt, **_: (_drawn(GRADES, prompt).strip(), "grader")):
        return utils.mmvet_process_results(doc, [reply])["gpt_eval_score"]


def _mmvet_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    rows = [_mmvet_row(doc, reply) for doc, reply in zip(docs, replies, strict=True)]
    told: list[str] = []
    utils = oracle.load("tasks.mmvet.utils")
    with patch.object(utils, "eval_logger", SimpleNamespace(info=told.append)):
        overall = utils.mmvet_aggregate_results(rows)
    found = {"score": overall}
    for ability in ("rec", "ocr", "know", "gen", "spat", "math"):
        some = [row["score"] for row in rows if ability in row["capabilities"]]
        if some:
            assert f"Score for {ability}: {100 * sum(some) / len(some):.2f}" in told
            found[f"score/{ability}"] = 100 * sum(some) / len(some)
    return found


RATINGS = ("8 7", "8, 9", "10 5\nThe first is better", "7.5 6.5", "8;3", "Scores: 9 8", "1 10", "\n 6 6 ", "9 8 7")


def _llava_doc(rng: random.Random, number: int) -> Document:
    caption: list[str] | str = [rng.choice(TEXTS), "a street"]
    return {
        "question_id": number,
        "question": rng.choice(TEXTS),
        "gpt_answer": "It is a dog.",
        "caption": rng.choice((caption, "a street")),
        "category": rng.choice(("conv", "detail", "complex")),
    }


def llava_rows(doc: Document, reply: str) -> dict[str, Any]:
    """Upstream's review of a reply, by metric."""
    utils = oracle.load("tasks.llava-in-the-wild.utils")

    def pipeline(**asked: str) -> Any:
        return utils._parse_comparative_scores(_drawn(RATINGS, asked["content"]))

    with patch.object(utils, "_get_pipeline", lambda: pipeline):
        found: dict[str, Any] = utils.llava_process_results(doc, [reply])
    return found


EXTRACTIONS = (
    "A",
    "(B) x",
    "c",
    "(d)",
    "12",
    "12.0",
    "1.25",
    "0.5",
    "[1, 2]",
    "Paris",
    "no",
    "a do",
    "-3",
    "1e400",
    "nan",
)


def _mathvista_doc(rng: random.Random, number: int) -> Document:
    doc: Document = {
        "pid": str(number),
        "question": "Which?",
        "query": f"Hint: answer.\nQuestion: Which {number}?",
        "unit": rng.choice((None, "$")),
        "choices": None,
        "precision": None,
        "metadata": dict.fromkeys(("language", "source", "category", "task", "context", "grade"), "some")
        | {"split": "testmini", "skills": rng.sample(("arithmetic", "logic", "geometry"), rng.randint(1, 2))},
    }
    kind = rng.choice(("text", "text", "integer", "float", "list"))
    if kind == "text":
        choices = rng.sample(TEXTS, rng.randint(2, 5))
        own: Document = {"question_type": "multi_choice", "choices": choices, "answer": rng.choice(choices)}
    else:
        golds = {"integer": ("12", "-3"), "float": ("1.2", "1.25", "0.5"), "list": ("[1, 2]",)}
        own = {"question_type": "free_form", "answer": rng.choice(golds[kind])}
    if kind == "float":
        own["precision"] = rng.choice((1.0, 2.0, 1, 2))
    return doc | own | {"answer_type": kind}


def _mathvista_words(doc: Document) -> list[str]:
    options = doc["choices"] or []
    return [doc["answer"]] * 3 + options + [*ascii_uppercase[: len(options)], "12", "1.25", "12.0", " 7 ", "[1, 2]"]


def _mathvista_row(doc: Document, reply: str) -> Any:
    evaluator = oracle.load("tasks.mathvista.utils").mathvista_evaluator
    with patch.object(evaluator, "get_chat_response", lambda prompt, **_: _drawn(EXTRACTIONS, prompt)):
        row = oracle.load("tasks.mathvista.utils").mathvista_process_results(doc, [reply])["llm_as_judge_eval"]
    if not reply and doc["question_type"] == "multi_choice":
        row["true_false"] = False  # upstream takes the option nearest to an empty reply, the shortest; we take none
    return row


def _mathvista_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    rows = [_mathvista_row(doc, reply) for doc, reply in zip(docs, replies, strict=True)]
    return {"accuracy": oracle.load("tasks.mathvista.utils").mathvista_aggregate_results(rows, None) or 0.0}


MARKS = ("0", "1", " 1 ", "Score: 1", "0.", "[1]", "```0```", "1 or 0")


def _mathverse_doc(rng: random.Random, number: int) -> Document:
    is_choice = rng.random() < 0.6
    return {
        "sample_index": str(number),
        "problem_index": str(number // 5),
        "problem_version": rng.choice(("Text Dominant", "Vision Only")),
        "question": "Find x.",
        "question_for_eval": rng.choice(TEXTS),
        "query_wo": "Find x.",
        "query_cot": "Find x.",
        "answer": rng.choice("ABCD" if is_choice else ("12", "3.5 cm", "y=x")),
        "question_type": "multi-choice" if is_choice else "free-form",
        "metadata": {"subfield": rng.choice(("Angle", "Area"))},
    }


def _mathverse(doc: Document, reply: str) -> float:
    utils = oracle.load("tasks.mathverse.utils")

    def evaluate(request: Any) -> Any:
        (message,) = request.messages
        return SimpleNamespace(content=_drawn(MARKS, message["content"]), model_used="grader", success=True)

    with patch.object(utils.mathverse_evaluator.server, "evaluate", evaluate):
        return float(utils.mathverse_process_results(doc, [reply])["gpt_eval_score"])


def _mathverse_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    scores = [_mathverse(doc, reply) for doc, reply in zip(docs, replies, strict=True)]
    return {"accuracy": 100 * oracle.load("tasks.mathverse.utils").mathverse_aggregate_results_eval(scores, None)}


PARITIES = [
    Parity(
        name="mm-vet",
        docs=_many(_mmvet_doc, 40),
        words=lambda doc: TEXTS,
        theirs=lambda doc, reply: float(_mmvet_row(doc, reply)["score"]),
        aggregates=_mmvet_metrics,
        judge=_canned(GRADES),
    ),
    Parity(
        name="llava-wild",
        docs=_many(_llava_doc, 40),
        words=lambda doc: TEXTS,
        theirs=lambda doc, reply: float(llava_rows(doc, reply)["gpt_eval_llava_all"]["scores"][1]) / 10,
        judge=_canned(RATINGS),
    ),
    Parity(
        name="mathvista-testmini",
        docs=_many(_mathvista_doc, 40),
        words=_mathvista_words,
        theirs=lambda doc, reply: float(_mathvista_row(doc, reply)["true_false"]),
        aggregates=_mathvista_metrics,
        judge=_canned(EXTRACTIONS),
    ),
    Parity(
        name="mathverse-testmini",
        docs=_many(_mathverse_doc, 40),
        words=lambda doc: [*TEXTS, doc["answer"]],
        theirs=_mathverse,
        aggregates=_mathverse_metrics,
        judge=_canned(MARKS),
    ),
]
