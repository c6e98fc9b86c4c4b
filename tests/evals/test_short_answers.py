"""What short-answer benchmarks report, where our reading differs from upstream's, and what cannot be read."""

from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import PROFILES, Benchmark
from cli_ray.evals.score import Scored
from cli_ray.evals.suite import BENCHMARKS
from tests.evals import cases_short, cases_yes_no

PEOPLE = ["dog"] * 10
DOCS: dict[str, dict[str, Any]] = {
    "ai2d": {"question": "Which?", "options": ["dog", "cat"], "answer": "1"},
    "chartqa": {"question": "How many?", "answer": "12", "type": "human_test"},
    "docvqa-val": {"questionId": 7, "question": "Who?", "answers": ["dog"]},
    "infovqa-val": {"questionId": 7, "question": "Who?", "answers": ["dog"]},
    "textvqa-val": {"question_id": 7, "question": "Who?", "answers": PEOPLE},
    "vizwiz-val": {"question_id": "VizWiz_val_7", "question": "Who?", "answers": PEOPLE},
    "vqav2-val": {
        "question_id": 7,
        "question": "Who?",
        "answers": [{"answer": answer, "answer_id": place} for place, answer in enumerate(PEOPLE)],
    },
    "ocrbench": {"question": "Read", "answer": ["dog"], "question_type": "Doc-oriented VQA", "dataset": "docVQA"},
    "mme": {"question_id": "0001.png", "question": "A dog?", "answer": "Yes", "category": "existence"},
    "gqa": {"question": "Who?", "answer": "dog", "imageId": "n1"},
    "pope": {"question_id": "1", "question": "A dog?", "answer": "yes", "category": "random"},
    "scienceqa-img": {"question": "Which?", "choices": ["dog", "cat"], "hint": "", "answer": 1},
    "seed-image": {
        "question_id": "7", "question": "Which?", "choice_a": "dog", "choice_b": "cat", "choice_c": "cow",
        "choice_d": "hen", "answer": "B", "data_type": "image",
    },
    "realworldqa": {"question": "Which? A. dog B. cat", "answer": "B"},
    "hallusionbench": {
        "category": "VS", "subcategory": "chart", "set_id": "0", "figure_id": "1", "question_id": "0",
        "question": "Is it?", "gt_answer": "1",
    },
}  # fmt: skip
HIDDEN = ("docvqa-test", "infovqa-test", "textvqa-test", "vqav2-test", "vizwiz-test")
SHORT = [BENCHMARKS[name] for name in (*DOCS, *HIDDEN)]


def strict(name: str, reply: str, **changes: object) -> Scored:
    """One reply under our own reading."""
    return evals.score(name, [DOCS[name] | changes], [reply], profile="strict")


def profile(name: str, reply: str, **changes: object) -> Scored:
    """One reply as upstream reads it."""
    return evals.score(name, [DOCS[name] | changes], [reply])


def test_every_scored_benchmark_is_compared_with_upstream() -> None:
    assert {parity.name for parity in cases_short.PARITIES + cases_yes_no.PARITIES} == set(DOCS)


@pytest.mark.parametrize("one", SHORT, ids=lambda one: one.name)
def test_a_benchmark_states_what_it_is(one: Benchmark) -> None:
    assert one.count
    assert set(one.facets) <= set(one.columns)
    assert one.source.ids[0].split("/")[0] in ("lmms-lab-encoder", "echo840")
    assert bool(one.submission) == (one.name in HIDDEN)
    assert all(0 < value <= one.full_marks for value in one.references.values())


@pytest.mark.parametrize("name", DOCS)
def test_a_metric_of_the_headlines_name_is_given(name: str) -> None:
    assert BENCHMARKS[name].headline in profile(name, "dog").metrics


@pytest.mark.parametrize("name", DOCS)
def test_an_empty_reply_is_unparsed_and_wrong(name: str) -> None:
    for scored in (profile(name, " \n"), strict(name, "")):
        assert (scored.samples[0].state, scored.samples[0].score, scored.samples[0].parsed) == ("unparsed", 0.0, "")


@pytest.mark.parametrize(
    ("name", "reply", "upstream", "ours"),
    [
        ("pope", "Yes.", 0.0, 1.0),
        ("pope", "Yes, there is a dog", 0.0, 1.0),
        ("scienceqa-img", "The answer is B.", 0.0, 1.0),
        ("scienceqa-img", "(B)", 0.0, 1.0),
        ("seed-image", "Because", 1.0, 0.0),
        ("seed-image", "(B) cat", 0.0, 1.0),
        ("seed-image", "cat", 0.0, 1.0),
        ("ai2d", "B) cat", 0.0, 1.0),
        ("realworldqa", "I see B-trees", 1.0, 0.0),
        ("hallusionbench", "In his eyes, it is so", 1.0, 0.0),
        ("hallusionbench", "No: yes would be wrong", 1.0, 0.0),
        ("mme", "There is no doubt. Yes", 0.0, 0.0),
        ("mme", "It is: yes", 0.0, 1.0),
        ("mme", "There is no doubt. Answer: Yes", 0.0, 1.0),
        ("pope", "\\boxed{yes}", 0.0, 1.0),
        ("pope", "No cat, but a dog. The answer is **yes**.", 0.0, 1.0),
        ("hallusionbench", "Yes or no? The answer is no.", 1.0, 0.0),
    ],
)
def test_strict_readings(name: str, reply: str, upstream: float, ours: float) -> None:
    assert profile(name, reply).samples[0].score == upstream
    assert strict(name, reply).samples[0].score == ours


@pytest.mark.parametrize(
    "name", [name for name in DOCS if "dog" in str(DOCS[name].get("answers", DOCS[name].get("answer")))]
)
def test_strictly_the_answer_in_a_tag_or_box_counts(name: str) -> None:
    for reply in ("I see a cat first. <answer>dog</answer>", "So $\\boxed{\\text{dog}}$ it is"):
        assert strict(name, reply).metrics[BENCHMARKS[name].headline] == BENCHMARKS[name].full_marks


def test_replies_that_are_neither_yes_nor_no_do_not_vanish_from_the_strict_recall() -> None:
    docs = [DOCS["pope"], DOCS["pope"], DOCS["pope"] | {"answer": "no"}]
    replies = ["yes", "perhaps", "no"]
    assert evals.score("pope", docs, replies).metrics["recall"] == 100.0
    found = evals.score("pope", docs, replies, profile="strict").metrics
    assert found["recall"] == 50.0
    assert found["f1"] == pytest.approx(100 * 2 / 3)
    assert found["yes_share"] == pytest.approx(100 / 3)


def test_mme_adds_the_share_of_images_with_both_answers_right() -> None:
    docs = [
        DOCS["mme"] | {"question_id": image, "answer": answer, "category": category}
        for category in ("existence", "code_reasoning")
        for image in ("1", "2")
        for answer in ("Yes", "No")
    ]
    found = evals.score("mme", docs, ["yes", "no", "yes", "yes"] * 2).metrics
    assert found["points/existence"] == 75 + 50
    assert (found["perception"], found["cognition"], found["total"]) == (125, 125, 250)


def test_hallusionbench_counts_questions_over_figures_and_figures_over_questions() -> None:
    docs = [
        DOCS["hallusionbench"] | {"figure_id": figure, "question_id": question}
        for figure in ("0", "1")
        for question in ("0", "1")
    ]
    found = evals.score("hallusionbench", docs, ["yes", "yes", "yes", "no"]).metrics
    assert (found["aAcc"], found["qAcc"], found["fAcc"]) == (75, 50, 50)
    assert found["average"] == pytest.approx(175 / 3)


def test_an_image_of_mme_counts_wholly_or_not_at_all() -> None:
    docs = [DOCS["mme"], DOCS["mme"] | {"answer": "No"}, DOCS["mme"] | {"question_id": "0002.png"}]
    replies = [evals.Reply("yes"), evals.Reply("out of memory", "error"), evals.Reply("no")]
    found = evals.score("mme", docs, replies)
    assert [sample.state for sample in found.samples] == ["ok", "error", "ok"]
    assert found.metrics["perception"] == 0.0


def test_only_image_questions_of_seed_are_kept() -> None:
    keep = BENCHMARKS["seed-image"].keep
    assert keep is not None
    assert keep(DOCS["seed-image"])
    assert not keep(DOCS["seed-image"] | {"data_type": "video"})


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_answers_give_no_score(name: str) -> None:
    val = name.replace("-test", "-val")
    found = evals.score(name, [{key: value for key, value in DOCS[val].items() if key != "answers"}], ["A dog."])
    assert (found.samples[0].score, found.samples[0].state) == (None, "ok")
    assert found.metrics == {}


@pytest.mark.parametrize("name", HIDDEN)
def test_strictly_a_server_gets_what_is_in_a_tag(name: str) -> None:
    val = name.replace("-test", "-val")
    doc = {key: value for key, value in DOCS[val].items() if key != "answers"}
    for profile, parsed in zip(PROFILES, (False, True), strict=True):
        (sample,) = evals.score(name, [doc], ["I see. <answer>dog</answer>"], profile=profile).samples
        assert (sample.parsed == "dog") == parsed
