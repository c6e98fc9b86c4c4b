"""The judge stage: what it asks, how many at once, and what it says of them."""

import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cli_ray.config.evaluation import JudgeConfig
from cli_ray.errors import UserError
from cli_ray.evals import score
from cli_ray.evals.benchmark import Reply
from cli_ray.evals.judging.judge import (
    Tally,
    ask_all,
    progress_lines,
    prompt_hash,
    question_about,
)
from cli_ray.evals.suite import benchmark
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.judging.questions import LLAVA, a_config, a_question, good, kept


def test_a_dead_judge_is_given_up_and_gives_no_score(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    one, reply = benchmark("llava-wild"), Reply("a dog")
    docs = [LLAVA | {"question_id": number, "question": f"question {number}"} for number in range(50)]
    asked = [question_about(one, doc, str(number), reply) for number, doc in enumerate(docs)]
    tally = ask_all(a_config(url), [question for question in asked if question], kept(tmp_path))
    assert (tally.failed, tally.answered) == (50, 0)
    assert any("ConnectError" in reason for reason in tally.reasons)
    assert one.judge
    scored = score("llava-wild", docs, [reply] * 50, kept(tmp_path).lookup(one.judge))
    assert {sample.state for sample in scored.samples} == {"unjudged"}
    assert {sample.rule for sample in scored.samples} == {"judge failed"}
    assert scored.metrics == {}


def test_a_judge_without_a_name_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"judge\.model"):
        ask_all(JudgeConfig(), [a_question(1)], kept(tmp_path))


def test_no_more_questions_are_in_flight_than_allowed(tmp_path: Path) -> None:
    lock, full = threading.Lock(), threading.Barrier(3)
    running = highest = 0

    def slow(body: dict[str, Any], number: int) -> Answer:
        nonlocal running, highest
        with lock:
            running += 1
            highest = max(highest, running)
        full.wait(timeout=20)  # nobody leaves before three are in
        with lock:
            running -= 1
        return good(body, number)

    with serving(slow) as server:
        tally = ask_all(a_config(server.url, concurrency=3), map(a_question, range(12)), kept(tmp_path))
    assert (tally.answered, highest) == (12, 3)


def test_progress_is_reported_after_each_question(tmp_path: Path) -> None:
    done: list[int] = []
    with serving(good) as server:
        ask_all(a_config(server.url), map(a_question, range(5)), kept(tmp_path), lambda one: done.append(one.answered))
    assert done == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("tally", "sentence"),
    [
        (Tally(known=12), "none asked; 12 known before"),
        (Tally(asked=1_200, answered=1_200), "1,200 asked: 1,200 answered"),
        (Tally(asked=400, answered=100, failed=3, reasons=Counter({"status 500": 3})),
         "103 of 400 asked: 100 answered, 3 failed (status 500 x3)"),
        (Tally(40, 12, 38, 1, 1, Counter({"ConnectError: refused": 1})),
         "40 asked: 38 answered, 1 in a way that cannot be read, 1 failed (ConnectError: refused x1); 12 known before"),
        (Tally(asked=9, failed=9, reasons=Counter({"a": 4, "b": 2, "c": 1, "d": 1, "e": 1})),
         "9 asked: 0 answered, 9 failed (a x4; b x2; c x1; 2 other reasons)"),
    ],
)  # fmt: skip
def test_a_tally_is_a_sentence(tally: Tally, sentence: str) -> None:
    assert str(tally) == sentence


def test_a_long_stage_prints_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    now_s, tally = 100.0, Tally(asked=35)
    show = progress_lines(clock=lambda: now_s)
    for _ in range(35):
        now_s += 1
        tally.answered += 1
        show(tally)
    lines = [f"judge: {done} of 35 asked: {done} answered" for done in (10, 20, 30)]
    assert capsys.readouterr().out.splitlines() == lines


def test_nothing_is_asked_about_failures_or_where_rules_decide() -> None:
    assert question_about(benchmark("llava-wild"), LLAVA, "1", Reply("out of memory", "error")) is None
    assert question_about(benchmark("mmstar"), {}, "1", Reply("A")) is None


def test_the_hash_of_a_judge_prompt_is_its_own() -> None:
    hashes = {
        prompt_hash(benchmark(name)) for name in ("llava-wild", "mm-vet", "mathvista-testmini", "mathverse-testmini")
    }
    assert len(hashes) == 4
    assert all(len(each) == 32 for each in hashes)
    assert prompt_hash(benchmark("mmstar")) == ""
