"""Reasoning before an answer is cut for every benchmark and profile, and from what judges and servers are given."""

from pathlib import Path

import pytest

from cli_ray.config import EvaluationConfig
from cli_ray.evals import miniature, score
from cli_ray.evals.benchmark import Messages, Profile, Reply
from cli_ray.evals.judging.judge import question_about
from cli_ray.evals.results.aggregate import row
from cli_ray.evals.results.output import Output
from cli_ray.evals.results.samples import AskedItem, read_samples, samples_table
from cli_ray.evals.scoring.reasoning import without_reasoning
from cli_ray.evals.suite import BENCHMARKS, benchmark
from tests.evals.results.outputs import record
from tests.evals.test_miniature import SCORED_BY_RULES, right

THOUGHTS = (
    "<think>Yes, no. Answer: A, B. 12</think>\n\n",
    "<analysis>\nThe answer is D. \\boxed{C}\n</analysis>",
    "which the template opened. So A.\n</think>",
    "<think>no</think><think>yes</think>",
)


@pytest.mark.parametrize("profile", ["lmms-eval/0.7.3", "strict"])
@pytest.mark.parametrize("name", SCORED_BY_RULES)
def test_a_right_answer_behind_reasoning_scores_in_full(name: str, profile: Profile) -> None:
    one = benchmark(name)
    docs = [doc for doc in miniature.docs(name) if one.keep is None or one.keep(doc)]
    for thought in THOUGHTS:
        scored = score(name, docs, [thought + right(name, doc) for doc in docs], profile=profile)
        assert [sample.score for sample in scored.samples] == pytest.approx([1.0] * len(docs))


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("<think>so</think> B ", "B"),
        ("<think>so</think>", ""),
        ("<think>so B", "<think>so B"),
        ("<THINK>so</THINK>B", "<THINK>so</THINK>B"),
        ("so</think>A</think>B", "B"),
        ("</think>B<think>", "</think>B<think>"),
        ("<analysis>a<think>b</think>c</analysis>B", "B"),
    ],
)
def test_what_the_cut_leaves(reply: str, left: str) -> None:
    assert without_reasoning(reply) == left


def test_the_filter_of_ai2d_comes_before_the_cut_as_upstream_has_it() -> None:
    doc = {"question": "Which?", "options": ["cat", "dog"], "answer": "1"}
    replies = ["B. dog", "<think>A</think>B", "<think>A</think>B. dog", "B. <think>A</think>"]
    assert [sample.score for sample in score("ai2d", [doc] * 4, replies).samples] == [1, 1, 0, 1]
    assert [sample.score for sample in score("ai2d", [doc] * 4, replies, profile="strict").samples] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", [name for name, one in BENCHMARKS.items() if one.judge])
def test_judges_are_not_shown_reasoning(name: str) -> None:
    doc = miniature.docs(name)[0]
    asked: list[Messages] = []

    def judge(messages: Messages) -> None:
        asked.append(messages)

    score(name, [doc], ["<think>secret</think>It is so."], judge)
    question = question_about(benchmark(name), doc, "1", Reply("<think>secret</think>It is so."))
    assert question
    assert [question.messages] == asked
    assert "It is so." in str(asked)
    assert "secret" not in str(asked)


@pytest.mark.parametrize("name", [name for name, one in BENCHMARKS.items() if one.submission])
def test_servers_are_given_the_answer_and_the_samples_keep_the_reply(name: str, tmp_path: Path) -> None:
    one = benchmark(name)
    doc = miniature.docs(name)[0]
    reply = "<think>secret</think>B"
    (sample,) = score(name, [doc], [reply]).samples
    output = Output(EvaluationConfig(model="m", output=str(tmp_path)), "hash")
    stored = record(name, sample, "m", reply=reply)
    output.write(one, row(one, [sample], 1, "lmms-eval/0.7.3"), [sample], {sample.id: stored})
    assert one.submission
    written = (tmp_path / "submissions" / name / one.submission.filename).read_bytes()
    assert b"secret" not in written
    path = str(tmp_path / "samples" / f"{name}.parquet")
    with samples_table(path, "lmms-eval/0.7.3") as add:
        add(stored, sample, AskedItem())
    (item,) = read_samples(path)
    assert item.record.reply == reply
