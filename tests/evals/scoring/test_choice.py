"""Benchmarks with options: where our strict reading differs from upstream's, and how scores are put together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import PROFILES, Reply, ScoredItem
from cli_ray.evals.results.aggregate import row
from cli_ray.evals.scoring.choice import stated
from cli_ray.evals.suite import benchmark

DOCS: dict[str, dict[str, Any]] = {
    "mmstar": {
        "index": 1, "question": "Which?", "answer": "B", "category": "math", "l2_category": "geometry",
    },
    "cv-bench": {
        "idx": 1, "prompt": "Which?", "choices": ["a cat", "a dog"], "answer": "(B)", "type": "2D", "task": "Count",
        "source": "COCO",
    },
    "mmvp": {"Index": 1, "Question": "Which?", "Options": "(a) a cat (b) a dog", "Correct Answer": "(b)"},
    "blink-val": {
        "idx": "val_Jigsaw_1", "prompt": "Which?", "choices": ["a cat", "a dog"], "answer": "(B)",
        "sub_task": "Jigsaw",
    },
    "vstar": {"question_id": "1", "text": "What? (A) a cat (B) a dog", "label": "B", "category": "direct_attributes"},
}  # fmt: skip


def named(samples: Sequence[ScoredItem]) -> list[ScoredItem]:
    """The samples, each an item of its own."""
    return [replace(one, id=str(i), unit=str(i), cluster=str(i)) for i, one in enumerate(samples)]


@pytest.mark.parametrize("name", DOCS)
@pytest.mark.parametrize("profile", ["lmms-eval/0.7.3", "strict"])
def test_plain_letters_are_read_under_both_profiles(name: str, profile: Any) -> None:
    for reply, score in (("B", 1), ("(B)", 1), ("B. a dog", 1), ("The answer is B.", 1), ("A", 0), ("", 0)):
        (sample,) = evals.score(name, [DOCS[name]], [reply], profile=profile).samples
        if (name, reply, profile) != ("cv-bench", "The answer is B.", "lmms-eval/0.7.3"):  # reads the T of The
            assert (sample.score, sample.state) == (score, "ok" if reply else "unparsed"), reply


@pytest.mark.parametrize(
    ("name", "reply", "profile", "strict"),
    [
        ("mmstar", "A dog", "A", ""),
        ("mmstar", "ABC", "C", ""),
        ("cv-bench", "Being there", "B", ""),
        ("cv-bench", "A dog, I think", "A", "B"),
        ("mmvp", "grab it", "B", ""),
        ("blink-val", "a dog", "A", "B"),
        ("vstar", "Because of that", "B", ""),
        ("vstar", "A dog", "A", "B"),
    ],
)
def test_strictly_articles_and_words_are_no_letters(name: str, reply: str, profile: str, strict: str) -> None:
    (ours,) = evals.score(name, [DOCS[name]], [reply]).samples
    (read,) = evals.score(name, [DOCS[name]], [reply], profile="strict").samples
    assert (ours.parsed, read.parsed) == (profile, strict)
    assert read.state == ("ok" if strict else "unparsed")


FORMS = (
    "\u7b54\u6848\uff1aB",
    "\u6545\u9009B\u3002",
    "$\\boxed{\\text{B}}$",
    "<answer>B</answer>",
    "(A) a cat\n(B) a dog\nAnswer: (B) a dog",
    "A\nThe correct answer is:\n(B) a dog",
)
QUOTES = ("Answer: B a dog", "<answer>a dog</answer> It is no A or B.")
"""Read where the options are known; those of MMStar stand in the question."""


@pytest.mark.parametrize("name", DOCS)
def test_strictly_forms_that_models_give_are_read(name: str) -> None:
    replies = FORMS if name == "mmstar" else FORMS + QUOTES
    scored = evals.score(name, [DOCS[name]] * len(replies), replies, profile="strict").samples
    assert [(one.score, one.state) for one in scored] == [(1, "ok")] * len(replies)


@pytest.mark.parametrize("name", DOCS)
def test_strictly_plain_statements_are_read_and_denied_letters_are_not(name: str) -> None:
    right = ("B is correct", "Option B", "The correct option is B.", "B\nBecause it is so.", "(A) is wrong, so B")
    unclear = ("The answer is not (A)", "The answer is not (A), a cat", "It is not a cat.", "(A) or (B)")
    scored = evals.score(name, [DOCS[name]] * 9, [*right, *unclear], profile="strict").samples
    assert [(one.score, one.state) for one in scored] == [(1, "ok")] * 5 + [(0, "unparsed")] * 4


def test_an_option_that_is_denied_is_not_quoted() -> None:
    pets = {"A": "cat", "B": "dog ", "C": ""}
    assert stated("It is a dog, not a cat", pets) == ("B", "option text")
    assert stated("(A) is wrong, I see the dog", pets) == ("B", "option text")
    assert stated("The dog is wrong", pets) == ("", "")


def test_a_failed_reply_is_an_error_and_a_cut_one_is_scored_and_said_to_be() -> None:
    for name, doc in DOCS.items():
        failed, cut = evals.score(name, [doc, doc], [Reply("B", "error"), Reply("B", "length")]).samples
        assert (failed.score, failed.state) == (None, "error")
        assert (cut.score, cut.state) == (1, "truncated")


def test_pairs_count_if_both_answers_are_right() -> None:
    docs = [DOCS["mmvp"] | {"Index": index} for index in (1, 2, 3, 4, 5)]
    found = evals.score("mmvp", docs, ["B", "B", "B", "A", "B"])
    assert [sample.unit for sample in found.samples] == ["0", "0", "1", "1", "2"]
    assert found.metrics == {"pair accuracy": 50.0, "accuracy": 80.0}
    assert evals.score("mmvp", docs[:1], ["B"]).metrics["pair accuracy"] == 100.0


def test_a_pair_with_a_failed_half_does_not_count() -> None:
    docs = [DOCS["mmvp"] | {"Index": index} for index in (1, 2, 3, 4)]
    found = evals.score("mmvp", docs, ["B", Reply("", "error"), "B", "A"])
    assert found.metrics == {"pair accuracy": 0.0, "accuracy": 50.0}


def test_mmstar_is_the_mean_of_its_classes_upstream_and_of_its_items_for_its_authors() -> None:
    docs = [
        DOCS["mmstar"] | {"l2_category": kind, "category": kind[0]} for kind in ("m1", "m1", "m1", "m2", "l1", "l1")
    ]
    found = evals.score("mmstar", docs, ["B", "A", "A", "B", "A", "A"])
    assert found.metrics == pytest.approx(
        {
            "average": 100 * 4 / 9, "average/m": 100 * 2 / 3, "average/l": 0.0,
            "accuracy": 100 / 3, "accuracy/m": 50.0, "accuracy/l": 0.0,
        }
    )  # fmt: skip
    rows = {profile: row(benchmark("mmstar"), named(found.samples), 6, profile) for profile in PROFILES}
    assert {profile: one.metric for profile, one in rows.items()} == {PROFILES[0]: "average", PROFILES[1]: "accuracy"}
    assert rows["strict"].value == pytest.approx(100 / 3)
    assert rows["strict"].standard_error == pytest.approx(100 * (2 / 9 / 5) ** 0.5)


def test_blink_is_the_mean_of_its_items_upstream_and_of_its_tasks_for_its_authors() -> None:
    docs = [DOCS["blink-val"] | {"sub_task": task} for task in ("Jigsaw", "Jigsaw", "Jigsaw", "IQ_Test")]
    found = evals.score("blink-val", docs, ["B", "A", "A", "B"])
    assert found.metrics == pytest.approx(
        {"accuracy": 50.0, "accuracy/IQ_Test": 100.0, "accuracy/Jigsaw": 100 / 3, "task mean": 100 * 2 / 3}
    )
    rows = {profile: row(benchmark("blink-val"), named(found.samples), 4, profile) for profile in PROFILES}
    assert [(one.metric, one.value) for one in rows.values()] == [
        ("accuracy", 50.0),
        ("task mean", pytest.approx(100 * 2 / 3)),
    ]


def test_cv_bench_is_strictly_half_flat_and_half_deep() -> None:
    docs = [DOCS["cv-bench"] | {"source": source} for source in ("COCO", "COCO", "ADE20K", "Omni3D")]
    replies = ["B", "A", "B", "A"]
    assert evals.score("cv-bench", docs, replies).metrics["accuracy"] == 50.0
    strict = evals.score("cv-bench", docs, replies, profile="strict").metrics
    assert strict == {
        "accuracy": 37.5, "accuracy/COCO": 50.0, "accuracy/ADE20K": 100.0, "accuracy/Omni3D": 0.0,
        "accuracy/Count": 50.0,
    }  # fmt: skip
    assert evals.score("cv-bench", docs[:2], replies[:2], profile="strict").metrics["accuracy"] == 50.0
