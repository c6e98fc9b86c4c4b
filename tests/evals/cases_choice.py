"""Comparisons with lmms-eval 0.7.3 for benchmarks with lettered options."""

import random
from ast import literal_eval
from collections.abc import Callable
from string import ascii_uppercase
from typing import Any
from unittest.mock import patch

from cli_ray.evals.benchmark import Metrics
from cli_ray.evals.benchmarks.mmmu import DOMAINS
from tests.evals import oracle
from tests.evals.parity import Document, Parity

TEXTS = (
    "a dog", "dog", "banana", "Paris", "12", "3.5", "1,200", "the red bus", "left of A", "yes", "no", "cat", "cats",
    "AB", "C", "D.", "(B)", "Both A and B", "None of the above", "nan", "3/11", "x = 2", "blue?", "égalité", "A.M.",
)  # fmt: skip


def _many(make: Callable[[random.Random, int], Document], count: int) -> Callable[[random.Random], list[Document]]:
    return lambda rng: [make(rng, number) for number in range(count)]


def _texts(rng: random.Random, least: int = 2, most: int = 4) -> list[str]:
    return rng.sample(TEXTS, rng.randint(least, most))


_SAYINGS = (
    "Option {0} it is", "I take option ({0}), {1} is none", "({1}) is wrong, ({0}) is right", "{1}-3 says ({0}). yes",
    "The answer is {1}. No, the answer is {0}.", "answers: {0}, {1}", "E {0}.", "A {0}: or so", "{0}.....\n({1})",
    "it is {1}. or ({0})", "so ({0}). yes, {1}", ":{0}). then", "A for {0} or", "{0}\nThe answer is :", "x = {0}\nAll",
    "x{0}. {1}.y", "I pick {0}, not {1}.",
)  # fmt: skip
"""With the gold answer and another one: each tells apart rules that agree on plainer replies."""


def _words(gold: str, options: list[str]) -> list[str]:
    """What replies are made of; the gold answer more often than the rest."""
    letters = ascii_uppercase[: max(len(options), 2)]
    sayings = [saying.format(*pair) for saying in _SAYINGS for pair in ((gold, "B"), ("B", gold), (gold, "D"))]
    return [gold] * 25 + sayings + [*options, *letters, *(f"{a}. {b}" for a, b in zip(letters, options, strict=False))]


def _rows(task: str, function: str, key: str, docs: list[Document], replies: list[str]) -> list[Any]:
    process = getattr(oracle.load(f"tasks.{task}.utils"), function)
    return [process(doc, [reply])[key] for doc, reply in zip(docs, replies, strict=True)]


def _by(rows: list[Any], key: str, docs: list[Document]) -> dict[str, list[Any]]:
    """Rows by a column of their documents."""
    values = sorted({doc[key] for doc in docs})
    return {value: [row for row, doc in zip(rows, docs, strict=True) if doc[key] == value] for value in values}


def _mmbench_docs(rng: random.Random) -> list[Document]:
    docs = []
    for question in rng.sample(range(1, 10**6), 12):
        options: list[Any] = _texts(rng)
        for turn in range(len(options)):
            shown = options[turn:] + options[:turn]
            row = dict(zip("ABCD", shown + [rng.choice((None, "nan"))] * (4 - len(shown)), strict=True))
            docs.append(
                row
                | {
                    "index": question + turn * 10**6,
                    "question": "Which?",
                    "hint": rng.choice((None, "nan", float("nan"), "Look.")),
                    "answer": ascii_uppercase[(-turn) % len(options)],
                    "category": f"category {question % 3}",
                    "L2-category": f"ability {question % 2}",
                    "source": "made up",
                    "split": "dev",
                }
            )
    rng.shuffle(docs)
    return docs


def _mmbench_rows(docs: list[Document], replies: list[str]) -> list[Any]:
    process = oracle.load("tasks.mmbench.en_utils").mmbench_process_results
    return [process(doc, [reply])["gpt_eval_score"] for doc, reply in zip(docs, replies, strict=True)]


def _mmbench(doc: Document, reply: str) -> float:
    """A row as if it were a question of its own."""
    evaluator = oracle.load("tasks.mmbench.en_utils").mmbench_evaluator
    frame = oracle.load("tasks.mmbench.mmbench_evals").pd.DataFrame(_mmbench_rows([doc], [reply]))
    return float(evaluator.eval_sub_data(frame, {doc["index"]: doc["answer"]}, static_only=True))


def _mmbench_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    evaluator = oracle.load("tasks.mmbench.en_utils").mmbench_evaluator
    with patch("builtins.print"):
        overall, categories, abilities = evaluator.eval_result(_mmbench_rows(docs, replies), eval_method="static")
    found = {f"accuracy/{name}": 100 * float(value) for name, value in (categories | abilities).items()}
    return {"accuracy": 100 * float(overall)} | found


def _mmbench_words(doc: Document) -> list[str]:
    options = [doc[letter] for letter in "ABCD" if doc[letter] not in (None, "nan")]
    return [doc["answer"]] * 30 + _words(doc["answer"], options)


def _mmstar_doc(rng: random.Random, number: int) -> Document:
    category = rng.choice(("math", "logical reasoning"))
    question = " Which? Please answer yes or no. Options: A: x, B: y, C: z, D: w"
    kind = f"{category} {rng.randrange(3)}"
    gold = rng.choice(("A", "B", "C", " d"))
    return {"index": number, "question": question, "answer": gold, "category": category, "l2_category": kind}


def _mmstar_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    utils = oracle.load("tasks.mmstar.utils")
    rows = _rows("mmstar", "mmstar_process_results", "average", docs, replies)
    found = {
        f"average/{name}": 100 * utils.mmstar_aggregate_results(some)
        for name, some in _by(rows, "category", docs).items()
    }
    return {"average": 100 * utils.mmstar_aggregate_results(rows)} | found


def _mmmu_doc(rng: random.Random, number: int) -> Document:
    domain = rng.choice(list(DOMAINS))
    subject = rng.choice(DOMAINS[domain])
    doc = {"id": f"validation_{subject}_{number}", "question": "Which of <image 1>?", "options": "[]"}
    if rng.random() < 0.6:
        options = _texts(rng, 2, 6)
        gold = rng.choice(ascii_uppercase[: len(options)])
        return doc | {"question_type": "multiple-choice", "options": repr(options), "answer": gold}
    gold = rng.choice((*TEXTS, "42", "0.5", "-3", "x", "['7', 'seven']", "1e3", "$6,000"))
    return doc | {"question_type": "open", "answer": gold}


def _mmmu_words(doc: Document) -> list[str]:
    if doc["question_type"] == "open":
        gold = doc["answer"]
        return [
            f"so it is {gold}",
            f"First, 3.\nThe final answer is {gold}",
            f"It is so\nx = {gold}\nAll",
            *_words(gold, []),
        ]
    options = literal_eval(doc["options"])
    return [f"{frame} {text}" for text in options for frame in ("see it as", "I see it as")] + _words(
        doc["answer"], options
    )


def _mmmu_row(doc: Document, reply: str) -> Any:
    """Upstream's random letter is drawn by the id, as ours."""
    utils = oracle.load("tasks.mmmu.utils")
    with patch("random.choice", lambda letters: random.Random(doc["id"]).choice(letters)):
        return utils.mmmu_process_results(doc, [reply])["mmmu_acc"]


def _mmmu(doc: Document, reply: str) -> float:
    judged, _ = oracle.load("tasks.mmmu.utils").evaluate_mmmu([_mmmu_row(doc, reply)])
    return float(judged[doc["id"]] == "Correct")


def _mmmu_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    rows = [_mmmu_row(doc, reply) for doc, reply in zip(docs, replies, strict=True)]
    with patch("builtins.print") as told:
        overall = oracle.load("tasks.mmmu.utils").mmmu_aggregate_results(rows)
    found = told.call_args.args[0]
    groups = {
        f"accuracy/{name.removeprefix('Overall-')}": 100 * row["acc"]
        for name, row in found.items()
        if name != "Overall" and row["num"] in (1, 2, 4, 5, 8, 10, 16)  # others do not survive the rounding to 5 digits
    }
    return groups | {"accuracy": 100 * overall}


def _cv_bench_doc(rng: random.Random, number: int) -> Document:
    source = rng.choice(("ADE20K", "COCO", "Omni3D"))
    choices = _texts(rng, 2, 6)
    return {
        "idx": number,
        "prompt": "Which? (A) x (B) y",
        "choices": choices,
        "answer": f"({rng.choice(ascii_uppercase[: len(choices)])})",
        "type": "3D" if source == "Omni3D" else "2D",
        "task": rng.choice(("Count", "Depth")),
        "source": source,
    }


def _mmvp_docs(rng: random.Random) -> list[Document]:
    docs = []
    for number in range(30):
        gold = rng.choice(("(a)", "(b)"))
        options = f"(a) {rng.choice(TEXTS[:9])} (b) {rng.choice(TEXTS[:9])}"
        docs.append({"Index": number + 1, "Question": "Which?", "Options": options, "Correct Answer": gold})
    return docs


def _mmvp_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    utils = oracle.load("tasks.mmvp.utils")
    rows = _rows("mmvp", "mmvp_process_results", "mmvp_accuracy", docs, replies)
    return {
        "accuracy": 100 * utils.mmvp_aggregate_results(rows),
        "pair accuracy": 100 * utils.mmvp_aggregate_pair_results(rows),
    }


def _blink_doc(rng: random.Random, number: int) -> Document:
    task = rng.choice(("Jigsaw", "Counting", "IQ_Test"))
    choices = _texts(rng)
    gold = f"({rng.choice(ascii_uppercase[: len(choices)])})"
    return {"idx": f"val_{task}_{number}", "prompt": "Which?", "choices": choices, "answer": gold, "sub_task": task}


def _vstar_doc(rng: random.Random, number: int) -> Document:
    options = rng.sample(("red", "a bus", "on the left", "3.5 m", "blue-green", "none"), rng.randint(2, 4))
    listed = " ".join(f"({letter}) {text}" for letter, text in zip(ascii_uppercase, options, strict=False))
    text = rng.choice((f"What is it? {listed}", f"What is it?\n{listed}", "What is it? A. red B. blue"))
    gold = rng.choice(("A", "B", "C", "D", "b "))
    category = rng.choice(("direct_attributes", "relative_position"))
    return {"question_id": str(number), "text": text, "label": gold, "category": category}


def _plain(
    name: str,
    task: str,
    process: tuple[str, str],
    aggregate: tuple[str, float, str],
    docs: Callable[[random.Random], list[Document]],
    gold: Callable[[Document], str],
    options: Callable[[Document], list[str]],
) -> Parity:
    """A benchmark whose rows say `is_correct` or `score`, and whose aggregate is a mean, over all and by a column."""
    function, factor, column = aggregate

    def theirs(doc: Document, reply: str) -> float:
        (row,) = _rows(task, *process, [doc], [reply])
        return float(row["is_correct"] if "is_correct" in row else row["score"])

    def metrics(all_docs: list[Document], replies: list[str]) -> Metrics:
        mean = getattr(oracle.load(f"tasks.{task}.utils"), function)
        rows = _rows(task, *process, all_docs, replies)
        groups = {f"accuracy/{key}": some for key, some in _by(rows, column, all_docs).items()}
        return {key: factor * mean(some) for key, some in ({"accuracy": rows} | groups).items()}

    return Parity(
        name=name, docs=docs, words=lambda doc: _words(gold(doc), options(doc)), theirs=theirs, aggregates=metrics
    )


def _mmstar(doc: Document, reply: str) -> float:
    (row,) = _rows("mmstar", "mmstar_process_results", "average", [doc], [reply])
    return float(row["score"])


def _mmvp(doc: Document, reply: str) -> float:
    (row,) = _rows("mmvp", "mmvp_process_results", "mmvp_accuracy", [doc], [reply])
    return float(row["is_correct"])


PARITIES = [
    Parity(
        name="mmbench-en-dev",
        docs=_mmbench_docs,
        words=_mmbench_words,
        theirs=_mmbench,
        aggregates=_mmbench_metrics,
    ),
    Parity(
        name="mmstar",
        docs=_many(_mmstar_doc, 40),
        words=lambda doc: _words(doc["answer"].strip().upper(), ["x", "y", "z", "w"]),
        theirs=_mmstar,
        aggregates=_mmstar_metrics,
    ),
    Parity(name="mmmu-val", docs=_many(_mmmu_doc, 32), words=_mmmu_words, theirs=_mmmu, aggregates=_mmmu_metrics),
    Parity(
        name="mmvp",
        docs=_mmvp_docs,
        words=lambda doc: _words(doc["Correct Answer"][1].upper(), doc["Options"][4:].split(" (b) ")),
        theirs=_mmvp,
        aggregates=_mmvp_metrics,
    ),
    _plain(
        "cv-bench",
        "cv_bench",
        ("cv_bench_process_results", "cv_bench_acc"),
        ("cv_bench_aggregate_results", 100.0, "task"),
        _many(_cv_bench_doc, 40),
        lambda doc: str(doc["answer"][1]),
        lambda doc: list(doc["choices"]),
    ),
    _plain(
        "blink-val",
        "blink",
        ("blink_process_results", "blink_acc"),
        ("blink_aggregate_results", 100.0, "sub_task"),
        _many(_blink_doc, 40),
        lambda doc: str(doc["answer"][1]),
        lambda doc: list(doc["choices"]),
    ),
    _plain(
        "vstar",
        "vstar_bench",
        ("vstar_process_results", "vstar_overall_acc"),
        ("vstar_aggregate_results", 1.0, "category"),
        _many(_vstar_doc, 40),
        lambda doc: doc["label"].strip().upper(),
        lambda doc: ["red", "blue"],
    ),
]
