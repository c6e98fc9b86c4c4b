"""What the scorers of definitions make of replies."""

from pathlib import Path
from typing import Any

import pytest

from cli_ray.evals.benchmark import Benchmark, Profile, Reply
from cli_ray.evals.own.template import Template
from cli_ray.evals.score import score_one
from cli_ray.evals.scoring.pattern import extracted
from tests.evals.own.pictures import made_of

OPTIONS = {"A": "a cat", "B": "a dog", "C": "", "D": "a fox"}
DOC = {"index": "1", "question": "Which?", "answer": "B", "category": "warm", **OPTIONS}


def scores(benchmark: Benchmark, doc: dict[str, Any], *replies: str, strict: bool = False) -> list[float | None]:
    profile: Profile = "strict" if strict else "lmms-eval/0.7.3"
    return [score_one(benchmark, doc, "1", Reply(reply), None, profile).score for reply in replies]


def plain(folder: Path, scorer: str, **changes: Any) -> Benchmark:
    """A benchmark on the columns `index` and `answer`."""
    values = {"scorer": scorer, "columns": {"id": "index"}, "prompt": "?", "facets": [], **changes}
    return made_of(folder, **values)


def test_options_that_are_empty_are_left_out_and_the_others_keep_their_letters(tmp_path: Path) -> None:
    assert made_of(tmp_path).prompt(DOC) == "Which?\nA. a cat\nB. a dog\nD. a fox\nAnswer with a letter."


@pytest.mark.parametrize("gold", ["B", "b", "a dog", "1", 1])
def test_the_right_option_is_named_by_letter_text_or_place(gold: object, tmp_path: Path) -> None:
    benchmark = made_of(tmp_path)
    doc = DOC | {"answer": gold}
    assert scores(benchmark, doc, "B", "(B)", "The answer is B.", "D", "") == [1, 1, 1, 0, 0]
    assert scores(benchmark, doc, "a dog", "A dog", "It is (D)", strict=True) == [1, 1, 0]
    assert benchmark.gold(doc) == "B. a dog"


@pytest.mark.parametrize("options", [["a cat", "a dog"], '["a cat", "a dog"]', "['a cat', 'a dog']"])
def test_options_may_be_a_list(options: object, tmp_path: Path) -> None:
    benchmark = made_of(tmp_path, columns={"id": "index", "options": "choices"}, prompt="{options}")
    doc = {"index": "1", "choices": options, "answer": "B", "category": ""}
    assert benchmark.prompt(doc) == "A. a cat\nB. a dog"
    assert scores(benchmark, doc, "B", "A") == [1, 0]


def test_each_rule_is_that_of_our_benchmarks(tmp_path: Path) -> None:
    doc = {"index": "1", "answer": "Paris"}
    assert scores(plain(tmp_path, "exact"), doc, "paris.", "in Paris") == [1, 0]
    assert scores(plain(tmp_path, "contains"), doc, "It is in PARIS, France.", "comparison") == [1, 0]
    assert scores(plain(tmp_path, "anls"), doc, "Pariss", "Rome") == [pytest.approx(5 / 6), 0]
    assert scores(plain(tmp_path, "relaxed"), {"index": "1", "answer": "100"}, "104", "106", "$104") == [1, 0, 0]
    assert scores(plain(tmp_path, "relaxed"), {"index": "1", "answer": "100"}, "$104", strict=True) == [1]
    for gold in ("yes", "Yes", True):
        assert scores(plain(tmp_path, "yes-no"), {"index": "1", "answer": gold}, "Yes, it is", "No.") == [1, 0]


@pytest.mark.parametrize("golds", [["Paris", "Lutetia"], "['Paris', 'Lutetia']"])
def test_the_best_of_several_right_answers_counts(golds: object, tmp_path: Path) -> None:
    doc = {"index": "1", "answer": golds}
    assert scores(plain(tmp_path, "exact"), doc, "lutetia", "Rome") == [1, 0]
    assert plain(tmp_path, "exact").gold(doc) == "Paris | Lutetia"
    assert scores(plain(tmp_path, "exact"), {"index": "1", "answer": "[1, 2]"}, "[1, 2]", "1") == [1, 0]


def test_a_pattern_reads_its_group_or_all_that_it_matches(tmp_path: Path) -> None:
    doc = {"index": "1", "answer": "12"}
    grouped = plain(tmp_path, "regex", pattern=r"(?s).*answer is (?P<answer>\d+)")
    assert scores(grouped, doc, "First 3. The answer is 12", "The answer is 3, no, the answer is 12", "12") == [1, 1, 0]
    assert scores(plain(tmp_path, "regex", pattern=r"\d+"), doc, "12 of 30", "30 of 12", "\ud800 12") == [1, 0, 1]


def test_no_pattern_takes_long_on_a_long_reply() -> None:
    """Python's `re` would take longer than the universe has lasted."""
    assert extracted(r"^(?:(?:a+)+)+$", "a" * 100_000 + "b") is None


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Yes", 1), ("**No**, it is", 0), ("Correct.", 1), ("incorrect", 0), ("5", 1), ("Score: 2.5 because", 0.5),
        ("4/5", 0.8), ("6", None), ("-1", None), ("50%", None), ("I think 5", None), ("", None),
    ],
)  # fmt: skip
def test_a_judge_begins_with_a_word_or_a_number(answer: str, score: float | None, tmp_path: Path) -> None:
    judge = {"prompt": "{question}: is {reply} as right as {answer}? {{0 to 5}}", "points": 5}
    benchmark = plain(tmp_path, "judge", prompt="{question}", judge=judge)
    assert benchmark.judge is not None
    doc = {"index": "1", "question": "{answer}", "answer": "a {reply}"}
    [message] = benchmark.judge.prompt(doc, "it") or ()
    assert message["content"] == "{answer}: is it as right as a {reply}? {0 to 5}"
    graded = benchmark.judge.reader("strict")(doc, "it", answer)
    assert (graded.score if graded else None) == score


def test_names_alone_are_substituted() -> None:
    template = Template.parse("{a.__class__} {b[0]} {c!r:>10} {{d}} {  e }")
    assert template.names == ("a.__class__", "b[0]", "c!r:>10", "e")
    assert template.fill({"a.__class__": "1", "b[0]": "2", "c!r:>10": "3", "e": "{a}"}) == "1 2 3 {d} {a}"


def test_facets_and_units_have_numbers_of_their_own(tmp_path: Path) -> None:
    benchmark = made_of(tmp_path, unit="question", facets=["category"])
    docs = [DOC | {"question": pair, "category": kind} for pair in "ab" for kind in ("warm", "cold")]
    replies = ["B", "B", "B", "A"]
    items = [
        score_one(benchmark, doc, str(row), Reply(reply), None, "strict")
        for row, (doc, reply) in enumerate(zip(docs, replies, strict=True))
    ]
    assert benchmark.aggregate(items) == {
        "accuracy": 75, "units": 50, "accuracy/category=cold": 50, "accuracy/category=warm": 100
    }  # fmt: skip
    assert (benchmark.headline, benchmark.linear) == ("units", False)


def test_rows_with_other_values_are_left_out(tmp_path: Path) -> None:
    benchmark = made_of(tmp_path, keep={"category": "Warm", "index": [1, 2]})
    assert benchmark.keep is not None
    assert [benchmark.keep(DOC | changes) for changes in ({}, {"index": 2}, {"index": "3"}, {"category": "cold"})] == [
        True, True, False, False
    ]  # fmt: skip
