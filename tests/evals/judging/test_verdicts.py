"""Verdicts are kept, found again and asked for once."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_ray.evals import score
from cli_ray.evals.benchmark import Reply
from cli_ray.evals.judging.judge import (
    ask_all,
    question_about,
)
from cli_ray.evals.judging.verdicts import Verdicts
from cli_ray.evals.suite import benchmark
from cli_ray.storage.folder import Folder
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.judging.questions import a_config, a_question, good, kept


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


def test_a_judged_benchmark_is_scored_from_the_verdicts(tmp_path: Path) -> None:
    one, doc = benchmark("mm-vet"), {"question_id": "v1_0", "question": "x?", "answer": "1", "capability": "math"}
    question = question_about(one, doc, "v1_0", Reply(" 1 "))
    assert question
    assert one.judge
    with serving(lambda body, number: (200, "0.8", {})) as server:
        ask_all(a_config(server.url), [question], kept(tmp_path))
    scored = score("mm-vet", [doc], [" 1 "], kept(tmp_path).lookup(one.judge))
    assert (scored.samples[0].score, scored.samples[0].rule, scored.metrics["score"]) == (0.8, "judge", 80.0)
