"""Our scores of short answers are those of lmms-eval 0.7.3, item by item and as aggregates."""

import argparse
from pathlib import Path

import pytest

from cli_ray import evals
from cli_ray.evals.benchmarks.ocrbench import POINTS
from cli_ray.evals.scoring.letter import find_letter
from cli_ray.evals.scoring.vqa import normal, short_normal
from tests.evals import cases_short, cases_yes_no, oracle
from tests.evals.parity import Parity, compare
from tests.evals.replies import NASTY

oracle.need()


@pytest.mark.parametrize("parity", cases_short.PARITIES + cases_yes_no.PARITIES, ids=lambda parity: parity.name)
def test_scores_are_those_of_lmms_eval(parity: Parity) -> None:
    outcome = compare(parity, rounds=80)
    assert not outcome.disagreements
    assert outcome.replies >= 1500
    assert outcome.metrics >= 80
    assert 0.05 < outcome.right / outcome.replies < 0.95


def test_every_contraction_and_number_word_is_normalised_as_upstream() -> None:
    theirs = oracle.load("tasks._task_utils.vqa_eval_metric").EvalAIAnswerProcessor()
    table = {**theirs.CONTRACTIONS, **theirs.NUMBER_MAP}
    for text in {*table, *table.values(), *theirs.ARTICLES, *theirs.PUNCTUATIONS, *NASTY, "." * 50, ".5" * 40}:
        for framed in (text, text.upper(), f"so {text}", f"{text}.", f"{text} 1,000 a-b", f"1-{text}-2"):
            assert normal(framed) == theirs(framed)
            assert short_normal(framed) == theirs.process_digit_article(theirs.process_punctuation(framed.strip()))


def test_letters_are_found_as_upstream_finds_them() -> None:
    theirs = oracle.load("tasks._task_utils.mcq_extract")
    frames = ("{}", "{} A", "B {}", "{}: (C) and D", "{}B is A, {} C", "D. {} B)", "The {}")
    for text in {*NASTY, *theirs._ANSWER_PHRASES, *(phrase.title() for phrase in theirs._ANSWER_PHRASES)}:
        for reply in (frame.replace("{}", text) for frame in frames):
            for choices in ("ABCD", "ABCDEFGH", "AB"):
                assert find_letter(reply, choices)[0] == theirs.extract_mcq_answer(reply, list(choices)), reply


def test_points_of_the_whole_ocrbench_are_upstreams_and_do_not_double(tmp_path: Path) -> None:
    docs = [
        {"question": "Which?", "answer": ["dog"], "question_type": kind, "dataset": "IIIT5K"}
        for kind, count in POINTS.items()
        for _ in range(count)
    ]
    replies = ["a dog" if place % 3 else "cat" for place in range(len(docs))]
    module = oracle.load("tasks.ocrbench.utils")
    rows = [
        module.ocrbench_process_results(doc, [reply])["ocrbench_accuracy"]
        for doc, reply in zip(docs, replies, strict=True)
    ]
    theirs = 1000 * module.ocrbench_aggregate_accuracy(rows, argparse.Namespace(output_path=str(tmp_path)))
    for _ in range(2):
        ours = evals.score("ocrbench", docs, replies).metrics
        assert ours["points"] == pytest.approx(theirs)
        assert sum(value for name, value in ours.items() if name != "points") == pytest.approx(theirs)
