"""The judge stage asks each question once, bears what endpoints do, and lets no key out."""

import json
import logging
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
from cli_ray.evals.judging import endpoint
from cli_ray.evals.judging.judge import (
    KEY_VARIABLE,
    Question,
    Tally,
    Verdicts,
    ask_all,
    prompt_hash,
    question_about,
    tell,
)
from cli_ray.evals.suite import benchmark
from cli_ray.storage.folder import Folder
from tests.evals.judging.judge_server import Answer, serving

KEY = "sk-very-secret-0123"
LLAVA = {"question_id": 1, "question": "What is it?", "gpt_answer": "a dog", "caption": "a dog", "category": "conv"}


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, no key, no proxy."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def a_question(number: int, temperature: float = 0.0) -> Question:
    """A question that `good` answers."""
    messages = ({"role": "user", "content": f"question {number}"},)
    return Question(f"set/{number}", messages, 16, temperature, lambda answer: answer.startswith("answer"))


def good(body: dict[str, Any], number: int) -> Answer:
    """Answers by the question."""
    return 200, body["messages"][0]["content"].replace("question", "answer"), {}


def a_config(url: str, **settings: Any) -> JudgeConfig:
    """A judge with few tries."""
    return JudgeConfig.model_validate({"model": "grader", "base_url": url, "concurrency": 4, "attempts": 3} | settings)


def kept(path: Path) -> Verdicts:
    """The verdicts of a folder."""
    return Verdicts(Folder(str(path)), "grader")


def test_answers_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    with serving(good) as server:
        first = ask_all(a_config(server.url), map(a_question, range(10)), kept(tmp_path))
        again = ask_all(a_config(server.url), map(a_question, range(12)), kept(tmp_path))
    assert (first.known, first.answered, first.failed) == (0, 10, 0)
    assert (again.known, again.answered, again.failed) == (10, 2, 0)
    assert len(server.bodies) == 12
    assert server.bodies[0].keys() == {"model", "messages", "max_tokens", "temperature"}
    assert server.keys == [""] * 12
    assert [kept(tmp_path).find(a_question(number)) for number in range(12)] == [f"answer {n}" for n in range(12)]


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    with serving(good) as server:
        ask_all(a_config(server.url), [a_question(1), a_question(1), a_question(1)], kept(tmp_path))
    assert len(server.bodies) == 1


def test_another_judge_or_decoding_is_another_question(tmp_path: Path) -> None:
    verdicts = kept(tmp_path)
    verdicts.add(a_question(1), "answer 1", {})
    assert verdicts.find(a_question(1)) == "answer 1"
    assert verdicts.find(a_question(1, temperature=0.5)) is None
    assert Verdicts(Folder(str(tmp_path)), "other").find(a_question(1)) is None


def test_a_line_cut_off_is_asked_again_and_harms_no_other(tmp_path: Path) -> None:
    verdicts = kept(tmp_path)
    verdicts.add(a_question(1), "answer 1", {})
    verdicts.add(a_question(2), "answer 2", {})
    file = tmp_path / "judge" / "verdicts.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    cut = kept(tmp_path)
    assert (cut.find(a_question(1)), cut.find(a_question(2))) == ("answer 1", None)
    cut.add(a_question(3), "answer 3", {})
    assert [kept(tmp_path).find(a_question(number)) for number in (1, 2, 3)] == ["answer 1", None, "answer 3"]


def test_an_object_store_gets_a_file_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "is_local", False)
    for session in range(3):
        verdicts = kept(tmp_path)
        assert sum(verdicts.find(a_question(number)) is not None for number in range(6)) == 2 * session
        for number in (2 * session, 2 * session + 1):
            verdicts.add(a_question(number), f"answer {number}", {})
            verdicts.flush()
    assert len(list((tmp_path / "judge").iterdir())) == 3
    assert [kept(tmp_path).find(a_question(number)) for number in range(6)] == [f"answer {n}" for n in range(6)]


def test_a_busy_judge_is_asked_again_when_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.sleep_using_event.__call__", lambda self, seconds: pauses.append(seconds))

    def busy(body: dict[str, Any], number: int) -> Answer:
        return (
            (429, "slow down", {"Retry-After": "7"}) if number == 0 else (503, "", {}) if number == 1 else good(body, 2)
        )

    with serving(busy) as server:
        tally = ask_all(a_config(server.url), [a_question(1)], kept(tmp_path))
    assert (tally.answered, tally.failed, len(server.bodies)) == (1, 0, 3)
    assert pauses[0] >= 7
    assert 0 < pauses[1] < 1


def test_a_judge_that_wants_a_long_pause_is_not_waited_for(tmp_path: Path) -> None:
    with serving(lambda body, number: (429, "", {"Retry-After": "3600"})) as server:
        tally = ask_all(a_config(server.url), [a_question(1)], kept(tmp_path))
    assert (tally.failed, len(server.bodies)) == (1, 1)
    assert tally.reasons == {"status 429, try again in 3600 s": 1}


def test_failures_are_not_kept_so_that_the_next_call_asks_them_again(tmp_path: Path) -> None:
    def every_other(body: dict[str, Any], number: int) -> Answer:
        return good(body, number) if body["messages"][0]["content"][-1] in "02468" else (500, "", {})

    with serving(every_other) as server:
        tally = ask_all(a_config(server.url, attempts=2), map(a_question, range(10)), kept(tmp_path))
        assert (tally.answered, tally.failed, len(server.bodies)) == (5, 5, 5 + 5 * 2)
        assert tally.reasons == {"status 500": 5}
        server.behave = good
        again = ask_all(a_config(server.url), map(a_question, range(10)), kept(tmp_path))
    assert (again.known, again.answered, again.failed) == (5, 5, 0)


def test_a_question_that_is_refused_alone_fails_alone(tmp_path: Path) -> None:
    def too_long(body: dict[str, Any], number: int) -> Answer:
        return (400, "too many tokens", {}) if "3" in body["messages"][0]["content"] else good(body, number)

    with serving(too_long) as server:
        tally = ask_all(a_config(server.url), map(a_question, range(6)), kept(tmp_path))
    assert (tally.answered, tally.failed, len(server.bodies)) == (5, 1, 6)
    assert tally.reasons == {"status 400: too many tokens": 1}


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


def test_nonsense_is_seen_and_asked_again_by_the_next_call(tmp_path: Path) -> None:
    one, reply = benchmark("llava-wild"), Reply("a dog")
    question = question_about(one, LLAVA, "1", reply)
    assert question
    assert one.judge
    with serving(lambda body, number: (200, "as a language model", {})) as server:
        for calls in (1, 2):
            tally = ask_all(a_config(server.url), [question], kept(tmp_path))
            assert (tally.nonsense, tally.known, len(server.bodies)) == (1, 0, calls)
            assert tally.example == "'as a language model' about llava-wild/1"
        assert '"nonsense": true' in (tmp_path / "judge" / "verdicts.jsonl").read_text()
        (sample,) = score("llava-wild", [LLAVA], [reply], kept(tmp_path).lookup(one.judge)).samples
        assert (sample.state, sample.rule, sample.score) == ("unjudged", "judge answered nonsense", None)
        server.behave = lambda body, number: (200, "8 6", {})
        tally = ask_all(a_config(server.url), [question], kept(tmp_path))
        assert (tally.answered, tally.known) == (1, 0)
    assert kept(tmp_path).find(question) == "8 6"


def test_what_an_earlier_version_stored_and_nobody_can_read_is_asked_again(tmp_path: Path) -> None:
    verdicts = kept(tmp_path)
    key = verdicts.key(a_question(1).messages, 16, 0.0)
    for answer in ("", "well", None, ["parts"]):
        verdicts.folder.append(
            "judge/verdicts.jsonl", [json.dumps({"key": key, "judge": "grader", "item": "set/1", "answer": answer})]
        )
        assert kept(tmp_path).find(a_question(1)) is None
    with serving(good) as server:
        assert ask_all(a_config(server.url), [a_question(1)], kept(tmp_path)).answered == 1
    assert kept(tmp_path).find(a_question(1)) == "answer 1"


def test_an_answer_in_parts_is_joined(tmp_path: Path) -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "answer"}, {"type": "text", "text": " 1"}]
    with serving(lambda body, number: (200, parts, {})) as server:
        assert ask_all(a_config(server.url), [a_question(1)], kept(tmp_path)).answered == 1
    assert kept(tmp_path).find(a_question(1)) == "answer 1"


@pytest.mark.parametrize("content", [None, "", " \n", []])
def test_an_empty_answer_is_not_stored(tmp_path: Path, content: Any) -> None:
    with serving(lambda body, number: (200, content, {})) as server:
        tally = ask_all(a_config(server.url), [a_question(1)], kept(tmp_path))
    assert (tally.nonsense, tally.example) == (1, "nothing about set/1")
    assert not any(path.stat().st_size for path in (tmp_path / "judge").iterdir())


def test_a_judge_that_refuses_a_question_says_so(tmp_path: Path) -> None:
    message = {"content": None, "refusal": "I cannot judge that."}
    with serving(lambda body, number: (200, {"choices": [{"message": message}]}, {})) as server:
        tally = ask_all(a_config(server.url), [a_question(1)], kept(tmp_path))
    assert tally.reasons == {"refused: I cannot judge that.": 1}


def cut(text: str) -> Answer:
    """An answer whose end is missing."""
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": "length"}]}, {}


def test_an_answer_that_is_cut_is_asked_for_with_room_to_reason(tmp_path: Path) -> None:
    def reasons(body: dict[str, Any], number: int) -> Answer:
        return cut("answer, as") if body["max_tokens"] == 16 else good(body, number)

    with serving(reasons) as server:
        assert ask_all(a_config(server.url), [a_question(1)], kept(tmp_path)).answered == 1
        assert [body["max_tokens"] for body in server.bodies] == [16, 16 + endpoint.ROOM]
        server.behave = lambda body, number: cut("answer, as")
        tally = ask_all(a_config(server.url), [a_question(2)], kept(tmp_path))
    assert (tally.nonsense, tally.example) == (1, "'answer, as' about set/2, cut at its longest")
    assert kept(tmp_path).find(a_question(1)) == "answer 1"
    assert kept(tmp_path).find(a_question(2)) is None
    assert '"cut": true' in (tmp_path / "judge" / "verdicts.jsonl").read_text()


def test_an_answer_may_be_cut_behind_its_verdict(tmp_path: Path) -> None:
    question = question_about(benchmark("llava-wild"), LLAVA, "1", Reply("a dog"))
    assert question
    with serving(lambda body, number: cut("8 6\nAssistant 1 is bet")) as server:
        assert ask_all(a_config(server.url), [question], kept(tmp_path)).answered == 1
        assert len(server.bodies) == 1
    found = kept(tmp_path).find(question)
    assert found
    assert found.startswith("8 6\n")


def test_nonsense_is_asked_again_where_answers_are_drawn(tmp_path: Path) -> None:
    def third(body: dict[str, Any], number: int) -> Answer:
        return good(body, number) if number == 2 else (200, "well", {})

    with serving(third) as server:
        tally = ask_all(a_config(server.url), [a_question(1, temperature=1.0)], kept(tmp_path))
    assert (tally.answered, tally.nonsense, len(server.bodies)) == (1, 0, 3)


def test_a_body_without_an_answer_is_tried_again_and_silence_is_nonsense(tmp_path: Path) -> None:
    with serving(lambda body, number: (200, "", {})) as server:
        assert ask_all(a_config(server.url), [a_question(1)], kept(tmp_path)).nonsense == 1
        server.behave = lambda body, number: (202, "<html>", {})
        tally = ask_all(a_config(server.url), [a_question(2)], kept(tmp_path))
    assert (tally.failed, len(server.bodies)) == (1, 1 + 3)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 302])
def test_a_refusal_stops_the_stage_at_once(tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serving(lambda body, number: (status, f"no such key: {KEY}", {})) as server:
        with pytest.raises(UserError, match=f"'grader' at {server.url}.*status {status}.*{KEY_VARIABLE}") as caught:
            ask_all(a_config(server.url), map(a_question, range(100)), kept(tmp_path))
        assert len(server.bodies) <= 4
    assert KEY not in str(caught.value)


def test_the_key_is_sent_and_gets_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)

    def echo(body: dict[str, Any], number: int) -> Answer:
        return (400, f"Bearer {KEY}", {}) if number == 0 else (200, f"answer {KEY}", {})

    with serving(echo) as server:
        tally = ask_all(a_config(server.url, concurrency=1), map(a_question, range(2)), kept(tmp_path))
    assert server.keys == [f"Bearer {KEY}"] * 2
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "answer ***" in written
    for text in (written, caplog.text, repr(tally), str(tally.reasons)):
        assert KEY not in text


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(UserError, match=KEY_VARIABLE) as caught:
        ask_all(a_config("http://127.0.0.1:9/v1"), [a_question(1)], kept(tmp_path))
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://host/v1", "", "http://host:port/v1"])
def test_an_address_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"judge\.base_url"):
        ask_all(a_config(url), [a_question(1)], kept(tmp_path))


def test_a_judge_without_a_name_is_told(tmp_path: Path) -> None:
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


def test_progress_is_told_after_each_question(tmp_path: Path) -> None:
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
    told = tell(clock=lambda: now_s)
    for _ in range(35):
        now_s += 1
        tally.answered += 1
        told(tally)
    lines = [f"judge: {done} of 35 asked: {done} answered" for done in (10, 20, 30)]
    assert capsys.readouterr().out.splitlines() == lines


def test_a_judged_benchmark_is_scored_from_the_verdicts(tmp_path: Path) -> None:
    one, doc = benchmark("mm-vet"), {"question_id": "v1_0", "question": "x?", "answer": "1", "capability": "math"}
    question = question_about(one, doc, "v1_0", Reply(" 1 "))
    assert question
    assert one.judge
    with serving(lambda body, number: (200, "0.8", {})) as server:
        ask_all(a_config(server.url), [question], kept(tmp_path))
    scored = score("mm-vet", [doc], [" 1 "], kept(tmp_path).lookup(one.judge))
    assert (scored.samples[0].score, scored.samples[0].rule, scored.metrics["score"]) == (0.8, "judge", 80.0)


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
