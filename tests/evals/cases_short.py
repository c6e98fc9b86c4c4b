"""Comparisons with lmms-eval 0.7.3 for benchmarks whose replies are a word, a phrase or a letter."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from cli_ray.evals.benchmark import Metrics
from cli_ray.evals.benchmarks.ocrbench import POINTS
from tests.evals import oracle
from tests.evals.parity import Document, Parity
from tests.evals.replies import CHANGES

WORDS = (
    "dog", "a red bus", "New York", "1,000", "1998", "12", "3.5", "45%", "0", "0.07", "-5", "yes", "no", "two", "ten",
    "none", "dont know", "can't tell", "the cat's tail", "it's 10 o'clock", "top-left", "coca cola", "$3,450.00",
    "unanswerable", "mr. smith", "e.g. this", "St. Mary's", "TV/DVD", "hello@world.com", "straße", "éclair", "10:30 am",
    "\\frac { 1 } { 2 }", "x ^ 2 + y", "A", "b", "the", "what?", "Main Street Bar & Grill", "United States of America",
    "\uff28ello\u3000World",
)  # fmt: skip


def _documents(make: Callable[[random.Random], Document], count: int = 30) -> Callable[[random.Random], list[Document]]:
    return lambda rng: [make(rng) for _ in range(count)]


def _golds(rng: random.Random, count: int) -> list[str]:
    """Answers of people: a few words, some written otherwise."""
    few = [rng.choice(WORDS) for _ in range(rng.randint(1, 4))]
    golds = [rng.choice(few) for _ in range(count)]
    return [rng.choice(CHANGES)(rng, gold) if rng.random() < 0.3 else gold for gold in golds]


def _options(rng: random.Random, least: int = 2, most: int = 5) -> list[str]:
    return rng.sample(WORDS, rng.randint(least, most))


def _ai2d_doc(rng: random.Random) -> Document:
    options = _options(rng)
    return {"question": "Which?", "options": options, "answer": str(rng.randrange(len(options)))}


def _ai2d(doc: Document, reply: str) -> float:
    """The filter and the metric of the task file, as the harness chains them."""
    utils, settings = oracle.load("tasks.ai2d.utils"), oracle.settings("ai2d/ai2d.yaml")
    arguments = {key: value for key, value in settings["filter_list"][0]["filter"][0].items() if key != "function"}
    filtered = utils.MultiChoiceRegexFilter(**arguments).apply([[reply]], [doc])
    return _exact([oracle.without_reasoning(one) for one in filtered], utils.ai2d_doc_to_target(doc, "mcq"))


def _exact(predictions: list[str], gold: str) -> float:
    metric = oracle.load("api.metrics").exact_match_hf_evaluate
    found = metric(predictions=predictions, references=[gold], ignore_case=True, ignore_punctuation=True)
    return float(found["exact_match"])


def _lettered(options: Sequence[str], *golds: str) -> list[str]:
    return [*golds, *golds, *options, *ascii_uppercase[: len(options)], *(f"{gold}. " for gold in golds)]


def _chartqa_doc(rng: random.Random) -> Document:
    return {"question": "Which?", "answer": _golds(rng, 1)[0], "type": rng.choice(("human_test", "augmented_test"))}


def _chartqa_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    utils = oracle.load("tasks.chartqa.utils")
    found: dict[str, list[float]] = {}
    for doc, reply in zip(docs, replies, strict=True):
        for name, value in utils.chartqa_process_results(doc, [reply]).items():
            found.setdefault(name, []).append(value)
    names = {
        "relaxed_overall": "accuracy",
        "relaxed_human_split": "accuracy/human_test",
        "relaxed_augmented_split": "accuracy/augmented_test",
    }
    return {names[name]: 100 * sum(values) / len(values) for name, values in found.items()}


def _document_doc(rng: random.Random) -> Document:
    return {"questionId": rng.randrange(10**6), "question": "Which?", "answers": _golds(rng, rng.randint(1, 4))}


def _anls(doc: Document, reply: str) -> float:
    return float(oracle.load("api.metrics").anls(references=doc["answers"], predictions=[reply])["anls"])


def _people_doc(rng: random.Random) -> Document:
    return {"question_id": rng.randrange(10**6), "question": "Which?", "answers": _golds(rng, 10)}


def _vqav2_doc(rng: random.Random) -> Document:
    """Now and then without the ids that keep equal answers apart."""
    answers: list[dict[str, Any]] = [{"answer": gold, "answer_confidence": "yes"} for gold in _golds(rng, 10)]
    if rng.random() < 0.8:
        answers = [{**answer, "answer_id": place} for place, answer in enumerate(answers, 1)]
    return {"question_id": rng.randrange(10**6), "question": "Which?", "answers": answers}


def _texts(answers: Sequence[Any]) -> list[str]:
    return [one["answer"] if isinstance(one, dict) else one for one in answers]


def _ocrbench_doc(rng: random.Random) -> Document:
    answer: list[str] | str = _golds(rng, rng.randint(1, 3))
    if rng.random() < 0.2:
        answer = answer[0]
    kind = rng.choice(list(POINTS))
    return {"question": "Which?", "answer": answer, "question_type": kind, "dataset": rng.choice(("HME100k", "IIIT5K"))}


def _ocrbench(doc: Document, reply: str) -> float:
    utils = oracle.load("tasks.ocrbench.utils")
    return float(utils.ocrbench_process_results(doc, [reply])["ocrbench_accuracy"]["score"])


def _gqa_doc(rng: random.Random) -> Document:
    return {"question": "Which?", "answer": rng.choice(WORDS), "imageId": f"n{rng.randrange(9)}"}


def _scienceqa_doc(rng: random.Random) -> Document:
    choices = _options(rng)
    return {"question": "Which?", "hint": "", "choices": choices, "answer": rng.randrange(len(choices))}


def _seed_doc(rng: random.Random) -> Document:
    options = dict(zip(("choice_a", "choice_b", "choice_c", "choice_d"), _options(rng, 4, 4), strict=True))
    return {"question_id": "7", "question": "Which?", "answer": rng.choice("ABCD"), "data_type": "image"} | options


def _seed(doc: Document, reply: str) -> float:
    utils = oracle.load("tasks.seedbench.utils")
    return float(utils.seed_aggregation_result([utils.seed_process_result(doc, [reply])["seed_image"]]))


def _realworldqa_doc(rng: random.Random) -> Document:
    return {"question": "Which?", "answer": rng.choice((*"ABCDABCD", *WORDS))}


def _mean(theirs: Callable[[Document, str], float], name: str = "accuracy", scale: float = 100.0) -> Any:
    """Metrics of a benchmark whose aggregate is the mean."""

    def aggregates(docs: list[Document], replies: list[str]) -> Metrics:
        scores = [theirs(doc, reply) for doc, reply in zip(docs, replies, strict=True)]
        return {name: scale * sum(scores) / len(scores)}

    return aggregates


def _item(task: str, function: str, key: str) -> Callable[[Document, str], float]:
    """A score that upstream's `process_results` gives outright."""
    return lambda doc, reply: float(getattr(oracle.load(f"tasks.{task}.utils"), function)(doc, [reply])[key])


def _simple(
    name: str,
    make: Callable[[random.Random], Document],
    words: Callable[[Document], Sequence[str]],
    theirs: Callable[[Document, str], float],
    metric: str = "accuracy",
) -> Parity:
    return Parity(name=name, docs=_documents(make), words=words, theirs=theirs, aggregates=_mean(theirs, metric))


PARITIES = [
    replace(
        _simple("ai2d", _ai2d_doc, lambda doc: _lettered(doc["options"], ascii_uppercase[int(doc["answer"])]), _ai2d),
        cuts_reasoning=True,
    ),
    Parity(
        name="chartqa",
        docs=_documents(_chartqa_doc),
        words=lambda doc: [doc["answer"]] * 4 + ["12", "11.5", "12.7"],
        theirs=_item("chartqa", "chartqa_process_results", "relaxed_overall"),
        aggregates=_chartqa_metrics,
    ),
    _simple("docvqa-val", _document_doc, lambda doc: doc["answers"], _anls, "anls"),
    _simple("infovqa-val", _document_doc, lambda doc: doc["answers"], _anls, "anls"),
    _simple(
        "textvqa-val",
        _people_doc,
        lambda doc: doc["answers"],
        _item("textvqa", "textvqa_process_results", "exact_match"),
    ),
    _simple(
        "vizwiz-val",
        _people_doc,
        lambda doc: doc["answers"],
        _item("vizwiz_vqa", "vizwiz_vqa_process_results", "exact_match"),
    ),
    _simple(
        "vqav2-val",
        _vqav2_doc,
        lambda doc: _texts(doc["answers"]),
        _item("vqav2", "vqav2_process_results_val", "exact_match"),
    ),
    Parity(
        name="ocrbench",
        docs=_documents(_ocrbench_doc),
        words=lambda doc: [doc["answer"]] if isinstance(doc["answer"], str) else doc["answer"],
        theirs=_ocrbench,
        aggregates=_mean(_ocrbench, "points", 1000.0),
    ),
    _simple("gqa", _gqa_doc, lambda doc: [doc["answer"]], lambda doc, reply: _exact([reply], doc["answer"])),
    _simple(
        "scienceqa-img",
        _scienceqa_doc,
        lambda doc: _lettered(doc["choices"], ascii_uppercase[doc["answer"]]),
        _item("scienceqa", "sqa_process_results", "exact_match"),
    ),
    _simple("seed-image", _seed_doc, lambda doc: _lettered([doc[f"choice_{x}"] for x in "abcd"], doc["answer"]), _seed),
    _simple(
        "realworldqa",
        _realworldqa_doc,
        lambda doc: [doc["answer"], doc["answer"], *"ABCD"],
        _item("realworldqa", "realworldqa_process_results", "exact_match"),
    ),
]
