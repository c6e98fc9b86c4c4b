"""Comparisons with lmms-eval 0.7.3 for benchmarks whose answers are yes or no."""

import random
from typing import Any

from cli_ray.evals.benchmark import Metrics
from tests.evals import oracle
from tests.evals.parity import Document, Parity


def _yes_no(doc: Document) -> list[str]:
    return ["yes", "no", "Yes", "No", "yes.", "there is a dog", "n", "yes", "no"]


def _mme_docs(rng: random.Random) -> list[Document]:
    kinds = oracle.load("tasks.mme.utils").eval_type_dict
    docs = [
        {"question_id": f"{image:04}.png", "question": f"{number}?", "answer": answer, "category": category}
        for category in rng.sample([*kinds["Perception"], *kinds["Cognition"]], 6)
        for image in range(rng.randint(1, 4))
        for number, answer in enumerate(rng.choice((("Yes", "No"), ("No", "Yes"), ("Yes.", "no"))))
    ]
    rng.shuffle(docs)
    return docs


def _mme(doc: Document, reply: str) -> float:
    (found,) = oracle.load("tasks.mme.utils").mme_process_results(doc, [reply]).values()
    return float(found["score"])


def _mme_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    utils = oracle.load("tasks.mme.utils")
    rows: dict[str, list[Any]] = {"mme_perception_score": [], "mme_cognition_score": []}
    for doc, reply in zip(docs, replies, strict=True):
        for name, row in utils.mme_process_results(doc, [reply]).items():
            rows[name].append(row)
    found = {name: float(utils.mme_aggregate_results(some)) for name, some in rows.items()}
    perception, cognition = found["mme_perception_score"], found["mme_cognition_score"]
    return {"perception": perception, "cognition": cognition, "total": perception + cognition}


def _pope_doc(rng: random.Random) -> Document:
    category = rng.choice(("adversarial", "popular", "random"))
    return {"question_id": "1", "question": "A dog?", "answer": rng.choice(("yes", "no")), "category": category}


def _pope(doc: Document, reply: str) -> float:
    return float(oracle.load("tasks.pope.utils").pope_process_results(doc, [reply])["pope_accuracy"]["score"])


def _pope_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    utils = oracle.load("tasks.pope.utils")

    def metrics(chosen: list[tuple[Document, str]], behind: str = "") -> Metrics:
        rows = [utils.pope_process_results(doc, [reply])["pope_accuracy"] for doc, reply in chosen]
        names = {"accuracy": "accuracy", "f1": "f1_score"}
        names |= {} if behind else {"precision": "precision", "recall": "recall"}
        return {f"{ours}{behind}": 100 * getattr(utils, f"pope_aggregate_{name}")(rows) for ours, name in names.items()}

    pairs = list(zip(docs, replies, strict=True))
    found = metrics(pairs)
    for category in {doc["category"] for doc in docs}:
        found |= metrics([pair for pair in pairs if pair[0]["category"] == category], f"/{category}")
    return found


def _hallusion_docs(rng: random.Random) -> list[Document]:
    return [
        {
            "category": category,
            "subcategory": "chart",
            "set_id": str(number),
            "figure_id": str(figure),
            "question_id": str(question),
            "question": "Is it?",
            "gt_answer": rng.choice("01"),
        }
        for category in ("VS", "VD")
        for number in range(3)
        for figure in range(rng.randint(1, 3))
        for question in range(rng.randint(1, 3))
    ]


def _hallusion(doc: Document, reply: str) -> float:
    module = oracle.load("tasks.hallusion_bench.evaluate_hb")
    return float(module.hb_aggregation_result_aAcc_intern([module.hb_process_results(doc, [reply])["aAcc"]]))


def _hallusion_metrics(docs: list[Document], replies: list[str]) -> Metrics:
    module = oracle.load("tasks.hallusion_bench.evaluate_hb")
    found = {}
    for name in ("aAcc", "qAcc", "fAcc"):
        rows = [module.hb_process_results(doc, [reply])[name] for doc, reply in zip(docs, replies, strict=True)]
        found[name] = 100 * getattr(module, f"hb_aggregation_result_{name}_intern")(rows)
    return found | {"average": sum(found.values()) / 3}


PARITIES = [
    Parity(name="mme", docs=_mme_docs, words=_yes_no, theirs=_mme, aggregates=_mme_metrics),
    Parity(
        name="pope",
        docs=lambda rng: [_pope_doc(rng) for _ in range(30)],
        words=_yes_no,
        theirs=_pope,
        aggregates=_pope_metrics,
    ),
    Parity(
        name="hallusionbench",
        docs=_hallusion_docs,
        words=_yes_no,
        theirs=_hallusion,
        aggregates=_hallusion_metrics,
    ),
]
