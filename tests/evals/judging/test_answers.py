"""What a judge answers: in parts, nothing, cut short, nonsense, a refusal."""

from pathlib import Path
from typing import Any

import pytest

from cli_ray.evals import score
from cli_ray.evals.benchmark import Reply
from cli_ray.evals.judging.judge import (
    ROOM,
    ask_all,
    question_about,
)
from cli_ray.evals.suite import benchmark
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.judging.questions import LLAVA, a_config, a_question, good, kept


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


def test_nonsense_is_asked_again_where_answers_are_drawn(tmp_path: Path) -> None:
    def third(body: dict[str, Any], number: int) -> Answer:
        return good(body, number) if number == 2 else (200, "well", {})

    with serving(third) as server:
        tally = ask_all(a_config(server.url), [a_question(1, temperature=1.0)], kept(tmp_path))
    assert (tally.answered, tally.nonsense, len(server.bodies)) == (1, 0, 3)


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
        assert [body["max_tokens"] for body in server.bodies] == [16, 16 + ROOM]
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


def test_a_body_without_an_answer_is_tried_again_and_silence_is_nonsense(tmp_path: Path) -> None:
    with serving(lambda body, number: (200, "", {})) as server:
        assert ask_all(a_config(server.url), [a_question(1)], kept(tmp_path)).nonsense == 1
        server.behave = lambda body, number: (202, "<html>", {})
        tally = ask_all(a_config(server.url), [a_question(2)], kept(tmp_path))
    assert (tally.failed, len(server.bodies)) == (1, 1 + 3)
