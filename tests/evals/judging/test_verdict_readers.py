"""Answers of judges are read as they are meant, or called nonsense; under upstream's profile as upstream reads them."""

from typing import Any

import pytest

from cli_ray.evals.benchmark import PROFILES, Graded, Profile
from cli_ray.evals.suite import BENCHMARKS, benchmark

CHOICE: dict[str, Any] = {
    "question_type": "multi_choice", "answer_type": "text", "choices": ["3/11", "8/11", "6/11"], "precision": None,
    "answer": "8/11",
}  # fmt: skip
INTEGER = CHOICE | {"question_type": "free_form", "answer_type": "integer", "choices": None, "answer": "14"}
FLOAT = INTEGER | {"answer_type": "float", "precision": 1.0, "answer": "1.2"}
LIST = INTEGER | {"answer_type": "list", "answer": "[1, 2]"}


def read(name: str, answer: str, doc: dict[str, Any] | None = None, profile: Profile = "strict") -> Graded | None:
    """What a judge's answer comes to."""
    judge = benchmark(name).judge
    assert judge
    return judge.reader(profile)(doc or {}, "a reply", answer)


def score(name: str, answer: str, doc: dict[str, Any] | None = None, profile: Profile = "strict") -> float | None:
    """The score alone."""
    graded = read(name, answer, doc, profile)
    return graded.score if graded else None


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        ("8 6", (8, 0.6)), ("8, 6\nexp", (8, 0.6)), ("Assistant 1: 8, Assistant 2: 6", (8, 0.6)),
        ("{\"1\": 8, \"2\": 6}", (8, 0.6)), ("{\"assistant_1\": 8, \"assistant_2\": 6}", (8, 0.6)),
        ("**Assistant 1:** 8/10\n**Assistant 2:** 6.5/10", (8, 0.65)), ("8/10 6/10", (8, 0.6)), ("8/10", None),
        ("Scores: 9 8", (9, 0.8)), ("[8, 6]", (8, 0.6)), ("8 and 6", (8, 0.6)), ("8.5 7", (8.5, 0.7)),
        ("8 7\nAssistant 1: 3 dogs, Assistant 2: 2", (8, 0.7)), ("Assistant 1 names 3 dogs, so 8", None),
        ("80 90", None), ("I can't rate", None), ("Assistant 1: 8", None), ("9 8 7", None), ("10 10", (10, 1)),
        ("Assistant 1's score: 8\nAssistant 2's score: 6", (8, 0.6)), ("Assistant 1 (8), Assistant 2 (6)", (8, 0.6)),
        ("Score of Assistant 1: 8. Score of Assistant 2: 6.", (8, 0.6)), ("<think>1 2</think>8 6", (8, 0.6)),
        ("<think>8 6", None), ("Here are the scores:\n8 6", None), ("```json\n{\"1\": 8, \"2\": 6}\n```", (8, 0.6)),
        ("Assistant 1: 8 and Assistant 2: 6", (8, 0.6)), ("1: 8, 2: 6", None),
    ],
)  # fmt: skip
def test_points_of_llava_wild(answer: str, points: tuple[float, float] | None) -> None:
    graded = read("llava-wild", answer)
    assert (graded and (graded.parts["reference"], graded.score)) == points


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("0.7", 0.7), ("0.7.", 0.7), ("Correctness: 0.7", 0.7), ("**0.7**", 0.7), ("0.7/1.0", 0.7), ("1", 1),
        ("1.0\nall", 1), ("1 of 2 parts", None), ("0 or 1", None), ("1.1", None), ("-0.1", None), ("good", None),
        ("nan", None), ("The correctness score is 0.4.", 0.4), ("{\"score\": 0.3}", 0.3), ("0.5\nBecause", 0.5),
        ("0.5 as 1 of 2", 0.5), ("Score: 0.5 or 0.6", None), ("10", None), ("0.5-0.7", None), ("1 dog is named", None),
        ("| 0.5 |", 0.5), ("100%", None), ("Score 0.5. Score 0.6", None), ("0", 0),
        ("The score is between 0.4 and 0.6", 0.4),
    ],
)  # fmt: skip
def test_grades_of_mm_vet(answer: str, grade: float | None) -> None:
    assert score("mm-vet", answer) == grade


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ("0", 0), ("1", 1), ("0 (step 1 is wrong)", 0), ("1.", 1), ("[1]", 1), ("Score: 1", 1), ("**0**", 0),
        ("```0```", 0), ("1 or 0", None), ("10", None), ("Correct", None), ("Step 1 is wrong.\nScore: 0", 0),
        ("Step 1 is fine.\n1", 1), ("0\nFinal: 1\n1", None), ("1 dog", None),
        ("The answer is 1, gold 2. Verdict: 0", 0), ("Score: 1/2", None), ("{\"score\": 0}", 0), ("1.0", 1),
        ("0.5", None), ("1, as all is right", 1), ("1+1=2", None), ("The final verdict is 0", 0),
        ("<think>1</think>0", 0), ("1 because so", 1), ("Judgement: 1 (gold 0)", 1),
    ],
)  # fmt: skip
def test_marks_of_mathverse(answer: str, mark: float | None) -> None:
    assert score("mathverse-testmini", answer) == mark


@pytest.mark.parametrize(
    ("doc", "answer", "right"),
    [
        (CHOICE, "B", 1), (CHOICE, "(B) 8/11", 1), (CHOICE, "8/11", 1), (CHOICE, "A", 0),
        (CHOICE, "I'm sorry, I can't help", None), (CHOICE, "None", 0), (CHOICE, "Extracted answer: B", 1),
        (CHOICE, "A or B", None), (CHOICE, "No answer", 0), (INTEGER, "14", 1), (INTEGER, "14 cm", 1),
        (INTEGER, "The answer is 14.", 1), (INTEGER, "I cannot", None), (INTEGER, "13 or 14", None),
        (INTEGER, "N/A", 0), (INTEGER, "14.0", 1), (FLOAT, "1.23", 1), (FLOAT, "$1.2", 1), (LIST, "[1, 2]", 1),
        (LIST, "Extracted answer: [1, 2]", 1), (LIST, "1, 2", None), (INTEGER, "1,4", None), (INTEGER, "x14", 1),
    ],
)  # fmt: skip
def test_extractions_of_mathvista(doc: dict[str, Any], answer: str, right: float | None) -> None:
    assert score("mathvista-testmini", answer, doc) == right


@pytest.mark.parametrize(
    ("name", "answer", "upstream"),
    [
        ("llava-wild", "Assistant 1: 8, Assistant 2: 6", 0.8),
        ("llava-wild", '{"1": 8, "2": 6}', 0.8),
        ("mathverse-testmini", "0 (step 1 is wrong)", 1.0),
        ("mathvista-testmini", "I'm sorry, but I cannot help with that.", 0.0),
    ],
)
def test_upstream_reads_on(name: str, answer: str, upstream: float) -> None:
    assert score(name, answer, CHOICE, "lmms-eval/0.7.3") == upstream
    assert score(name, answer, CHOICE) != upstream


VERDICTS = {"llava-wild": "8 7", "mm-vet": "0.5", "mathverse-testmini": "1", "mathvista-testmini": "B"}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", VERDICTS)
def test_the_reasoning_of_a_judge_is_no_verdict(name: str, profile: Profile) -> None:
    """Nor is what it has thought of before it was cut."""
    assert set(VERDICTS) == {name for name, one in BENCHMARKS.items() if one.judge}
    plain = score(name, VERDICTS[name], CHOICE, profile)
    assert plain is not None
    assert score(name, f"<think>0 0 A 10 10</think>\n{VERDICTS[name]}", CHOICE, profile) == plain
    assert score(name, f"0 0 A</think>{VERDICTS[name]}", CHOICE, profile) == plain
    for cut in (f"<think>\n{VERDICTS[name]}", f"<think>{VERDICTS[name]}</think>", "", " \n"):
        assert score(name, cut, CHOICE, profile) is None
