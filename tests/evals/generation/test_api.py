"""Models behind an endpoint, asked through `evaluate`: what is stored, refused, resumed, and never written down."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig
from cli_ray.errors import RunFailedError, UserError
from cli_ray.evals import miniature
from cli_ray.evals.generation import api
from cli_ray.evals.generation.messages import data_urls
from cli_ray.evals.items.sources import locate
from cli_ray.evals.items.survey import scan
from cli_ray.evals.records import ReplyRecord, Store
from cli_ray.evals.results.compare import compare
from cli_ray.evals.results.output import Output
from cli_ray.evals.results.samples import read_columns
from cli_ray.evals.results.scorer import ItemSet, Scorer
from cli_ray.evals.results.table import read_results
from cli_ray.evals.run import evaluate
from cli_ray.evals.suite import BENCHMARKS, benchmark
from cli_ray.watch.results import read_results as watched
from tests.evals.endpoint.chat_server import Answer, ChatServer, serving
from tests.evals.generation.charts import png, row, write_rows

KEY = "sk-very-secret-0123"
NAMES = ("gqa", "mmmu-val", "pope")
WITHOUT_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
from cli_ray.commands.main import main
sys.exit(main(sys.argv[1:]))
"""
"""`cli-ray` where torch cannot be imported."""
ITEMS = sum(len(miniature.docs(name)) for name in NAMES)

pytestmark = pytest.mark.usefixtures("no_pauses")


def completion(text: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A body as OpenAI sends it."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text} | message, "finish_reason": finish}],
        "model": "seer-2026-11-20",
        "system_fingerprint": "fp_1",
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def text_of(body: dict[str, Any]) -> str:
    """The text of a question."""
    return "".join(part.get("text", "") for part in body["messages"][0]["content"])


def reply_to(text: str) -> str:
    """A reply that differs from question to question, with characters of several scripts."""
    return ("yes", "no", "B", "réponse \N{SNOWMAN} 答案")[len(text) % 4]


def seer(body: dict[str, Any], number: int) -> Answer:
    """Answers all."""
    return 200, completion(reply_to(text_of(body))), {}


def config_of(server: ChatServer, output: Path, **changes: Any) -> EvaluationConfig:
    endpoint = {"base_url": server.url, "concurrency": 4, "attempts": 2} | changes.pop("endpoint", {})
    values = {"model": "openai:seer", "output": str(output), "benchmarks": NAMES, "miniature": True}
    return EvaluationConfig.model_validate(values | {"endpoint": endpoint} | changes)


def records_of(output: Path, name: str) -> list[ReplyRecord]:
    return list(Store(str(output)).load(name).values())


def asked_once(server: ChatServer, output: Path, **changes: Any) -> ReplyRecord:
    """The record of the first item of GQA."""
    evaluate(config_of(server, output, benchmarks=("gqa",), limit=1, **changes), live=False)
    (record,) = records_of(output, "gqa")
    return record


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Output]:
    """The output of an evaluation through an endpoint that wants a key."""
    with pytest.MonkeyPatch.context() as patch, serving(seer) as server:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv(api.KEY_VARIABLE, KEY)
        yield evaluate(config_of(server, tmp_path_factory.mktemp("done"), endpoint={"price_prompt": 2.5}), live=False)
        assert set(server.keys) == {f"Bearer {KEY}"}
        assert len(server.bodies) == ITEMS


def test_replies_score_as_those_of_a_model_in_a_folder(done: Output, tmp_path: Path) -> None:
    """The same replies, stored as a replica's."""
    config = EvaluationConfig(model="folder", output=str(tmp_path), benchmarks=NAMES, miniature=True)
    locations = {name: locate(benchmark(name), "", miniature=True) for name in NAMES}
    scorer = Scorer(config, "hash", locations)
    for name, location in locations.items():
        entries = scan(location, location.parts[0], "greedy", "hash")
        ItemSet.of(config, location, "greedy", entries).write(scorer.output.folder)
        replies = {record.sample_id: record for record in records_of(Path(done.folder.path), name)}
        scorer.store.append(
            [
                replies[one.id].model_copy(update={"key": one.key, "decoding": "greedy", "served": None})
                for one in entries
            ]
        )
        scorer.score(name)
    own = {"decoding", "service"}
    assert [row.model_dump(exclude=own) for row in done.rows] == [
        row.model_dump(exclude=own) for row in scorer.output.rows
    ]
    assert all(row.complete and row.n_scored == row.n for row in done.rows)
    assert {one.difference for one in compare(done.folder.uri, str(tmp_path)).contrasts} == {0.0}


def test_the_table_says_which_model_in_which_state_at_what_price(done: Output) -> None:
    (served,) = {record.served for record in records_of(Path(done.folder.path), "pope")}
    assert served is not None
    assert (served.model, served.fingerprint, served.cached_tokens, served.reasoning_tokens) == (
        "seer-2026-11-20", "fp_1", 10, 1,
    )  # fmt: skip
    tokens = f"{100 * ITEMS:,} tokens of prompts ({10 * ITEMS} cached), {3 * ITEMS} of replies ({ITEMS} reasoning)"
    table = done.table()
    assert "- Decoding: temperature 0, API." in table
    assert f", state of {served.date}; it calls itself seer-2026-11-20. Whoever serves it may change it." in table
    assert f"- Used: {tokens}; {2.5e-4 * ITEMS:.4f} at the prices given." in table


def test_watching_and_samples_know_it(done: Output) -> None:
    history = watched(done.folder.uri)
    assert (history.model, history.state, history.done) == ("openai:seer", "ended", ITEMS)
    (first, *_) = read_columns(f"{done.folder.path}/samples/pope.parquet")
    assert (first["prompt_tokens"], first["reply_tokens"]) == (100, 3)
    assert "<image>" not in first["prompt"]


def test_its_replies_can_be_judged(tmp_path: Path) -> None:
    with serving(seer) as server, serving(lambda body, number: (200, "0.5", {})) as grader:
        evaluate(config_of(server, tmp_path, benchmarks=("mm-vet",)), live=False)
        assert main(["judge", str(tmp_path), "--judge.model", "grader", "--judge.base-url", grader.url]) == 0
        assert (len(server.bodies), len(grader.bodies)) == (4, 4)
    (row,) = read_results(str(tmp_path)).rows
    assert (row.value, row.unjudged) == (50.0, 0)
    assert "it calls itself seer-2026-11-20" in (tmp_path / "table.md").read_text()


def test_the_key_is_in_no_file(done: Output) -> None:
    files = [path for path in Path(done.folder.path).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_questions_are_those_of_the_benchmark(tmp_path: Path) -> None:
    with serving(seer) as server:
        evaluate(config_of(server, tmp_path, benchmarks=("blink-val",)), live=False)
    docs = miniature.docs("blink-val")
    assert {body["temperature"] for body in server.bodies} == {0.0}
    assert {body["max_tokens"] for body in server.bodies} == {benchmark("blink-val").max_new_tokens}
    assert not {"seed", "stream"} & {name for body in server.bodies for name in body}
    images = [sum(part["type"] == "image_url" for part in body["messages"][0]["content"]) for body in server.bodies]
    assert sorted(images) == sorted(
        sum(doc[name] is not None for name in benchmark("blink-val").image_columns) for doc in docs
    )
    assert max(images) > 1


def test_items_of_several_parts_are_asked_with_their_own_pictures_and_a_broken_one_alone_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(seed) for seed in range(7)]
    rows[4]["image"] = [{"bytes": png(4)[:60], "path": None}]
    write_rows(tmp_path / "data", rows, group=3)
    monkeypatch.setitem(BENCHMARKS, "chartqa", replace(BENCHMARKS["chartqa"], count=7))
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    with serving(seer) as server:
        (found,) = evaluate(config_of(server, tmp_path / "out", **source), live=False).rows
    assert (found.n, found.n_scored, found.errors) == (7, 6, 1)
    assert [one.error[:12] for one in records_of(tmp_path / "out", "chartqa") if one.error] == ["broken image"]
    urls = {part["image_url"]["url"] for body in server.bodies for part in body["messages"][0]["content"][:1]}
    assert urls == {url for seed in {*range(7)} - {4} for url in data_urls([png(10 * seed)])}


@pytest.mark.parametrize(
    ("body", "finish", "reply", "error"),
    [
        (completion(" yes\n"), "stop", "yes", ""),
        (completion("yes and", "length"), "length", "yes and", ""),
        (completion(""), "stop", "", ""),
        (completion(None, refusal="I can't  help"), "error", "", "refused: I can't help"),
        (completion("Ye", "content_filter"), "error", "", "ended by content_filter"),
        (completion(None, "tool_calls"), "error", "", "ended by tool_calls"),
        (
            completion(None, "length", reasoning_content="hm"),
            "error",
            "",
            "no reply within 3 tokens, 1 of them reasoning: allow more by endpoint.reasoning_tokens",
        ),
        ({"choices": []}, "error", "", "status 200 without an answer"),
        ("no JSON", "error", "", "status 200 without an answer"),
    ],
)
def test_what_is_no_reply_is_an_error_with_its_reason(
    tmp_path: Path, body: Any, finish: str, reply: str, error: str
) -> None:
    raw = body if isinstance(body, dict) else {"choices": body}
    with serving(lambda _, number: (200, raw, {})) as server:
        record = asked_once(server, tmp_path)
    assert (record.finish, record.reply) == (finish, reply)
    assert record.error.startswith(error) if error else not record.error
    (row,) = read_results(str(tmp_path)).rows
    assert (row.errors, row.complete, row.truncated) == (int(bool(error)), not error, int(finish == "length"))


def test_a_failure_that_passes_is_tried_again_and_one_that_does_not_is_an_error_of_its_item(tmp_path: Path) -> None:
    def moody(body: dict[str, Any], number: int) -> Answer:
        if number == 0:
            return 429, "slow down", {"Retry-After": "0"}
        return (400, {"error": {"message": "image too small"}}, {}) if number == 3 else seer(body, number)

    with serving(moody) as server:
        config = config_of(server, tmp_path, benchmarks=("gqa",), endpoint={"concurrency": 1})
        (row,) = evaluate(config, live=False).rows
        assert (row.n_scored, row.errors, row.complete) == (4, 1, False)
        records = records_of(tmp_path, "gqa")
        assert [one.attempts for one in records] == [2, 1, 1, 1, 1]
        assert [one.error for one in records if one.error] == ["status 400: image too small"]
        asked = len(server.bodies)
        evaluate(config, live=False)
        assert len(server.bodies) == asked
        (row,) = evaluate(config.model_copy(update={"retry_errors": True}), live=False).rows
        assert (len(server.bodies), row.errors, row.complete) == (asked + 1, 0, True)


def test_a_dialect_is_learnt_and_stands_in_the_table(tmp_path: Path) -> None:
    def reasoner(body: dict[str, Any], number: int) -> Answer:
        if "max_tokens" in body:
            return 400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", {}
        return (400, "'temperature' is unsupported", {}) if "temperature" in body else seer(body, number)

    with serving(reasoner) as server:
        record = asked_once(server, tmp_path, endpoint={"reasoning_tokens": 2000})
    assert server.bodies[-1]["max_completion_tokens"] == benchmark("gqa").max_new_tokens + 2000
    decoding = "the endpoint's temperature, 16 tokens, 2,000 more to reason, API"
    assert record.decoding == decoding
    assert "Decoding: the endpoint's temperature, 2,000 more to reason, API." in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_ends_the_call_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    monkeypatch.setenv(api.KEY_VARIABLE, KEY)
    with serving(lambda body, number: (status, {"error": {"message": f"no, {KEY}"}}, {})) as server:
        words = ["--model", "openai:seer", "--endpoint.base-url", server.url, "--endpoint.concurrency", "2"]
        assert main(["eval", *words, "--miniature", "--output", str(tmp_path)]) == 1
        assert len(server.bodies) <= 4
    error = capsys.readouterr().err
    assert f"the model 'seer' at {server.url} refuses all questions (status {status}: no, ***)" in error
    assert f"Check endpoint.base_url, model and the key in the environment variable {api.KEY_VARIABLE}" in error
    assert KEY not in error


def test_an_endpoint_that_answers_nothing_ends_the_call_and_leaves_no_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "FRUITLESS", 3)
    with serving(lambda body, number: (500, "no GPU", {}) if number > 2 else seer(body, number)) as server:
        config = config_of(server, tmp_path, endpoint={"concurrency": 1, "attempts": 1})
        with pytest.raises(RunFailedError, match=r"left 4 items .* unanswered; the last one: status 500: no GPU\."):
            evaluate(config, live=False)
        assert [len(records_of(tmp_path, name)) for name in NAMES] == [3, 0, 0]
        server.behave = seer
        assert all(row.complete for row in evaluate(config, live=False).rows)
        assert len(server.bodies) == ITEMS + 4


def test_tokens_have_an_end(tmp_path: Path) -> None:
    with serving(seer) as server:
        config = config_of(server, tmp_path, endpoint={"concurrency": 1, "max_total_tokens": 3 * 103})
        with pytest.raises(RunFailedError, match=r"max_total_tokens = 309 are used up: 300 tokens of prompts"):
            evaluate(config, live=False)
        assert len(server.bodies) == 3
        enough = {"concurrency": 1, "max_total_tokens": 103 * (ITEMS - 3)}
        assert all(row.complete for row in evaluate(config_of(server, tmp_path, endpoint=enough), live=False).rows)


def test_replies_of_several_models_behind_one_name_are_told(tmp_path: Path) -> None:
    def changing(body: dict[str, Any], number: int) -> Answer:
        return 200, completion("yes") | {"model": "new" if number else "old"}, {}

    with serving(changing) as server:
        table = evaluate(config_of(server, tmp_path, endpoint={"concurrency": 1}), live=False).table()
    assert f"it calls itself new ({ITEMS - 1} replies) and old (1 replies). These are scores of several models" in table


def test_endpoints_and_names_are_never_mixed(tmp_path: Path) -> None:
    with serving(seer) as one, serving(seer) as other:
        evaluate(config_of(one, tmp_path, benchmarks=("gqa",)), live=False)
        evaluate(config_of(one, tmp_path, benchmarks=("gqa",), endpoint={"base_url": f"{one.url}/"}), live=False)
        assert len(one.bodies) == 5
        for config in (config_of(other, tmp_path), config_of(one, tmp_path, model="openai:other")):
            with pytest.raises(UserError, match="name another --output"):
                evaluate(config, live=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_call_ends_at_once_asks_nothing_twice_and_needs_neither_torch_nor_a_cluster(
    tmp_path: Path, number: signal.Signals
) -> None:
    release = threading.Event()
    gate = threading.Barrier(3, timeout=20)

    def slow(body: dict[str, Any], number: int) -> Answer:
        if number >= 7:
            gate.wait()
            release.wait(60)
        return seer(body, number)

    with serving(slow) as server:
        words = ["--model", "openai:seer", "--endpoint.base-url", server.url, "--endpoint.concurrency", "2"]
        command = [sys.executable, "-c", WITHOUT_TORCH, "eval", *words, "--miniature"]
        process = subprocess.Popen(
            [*command, "--benchmarks", ",".join(NAMES), "--output", str(tmp_path)],
            env=os.environ | {"RAY_ADDRESS": "127.0.0.1:1"},
        )
        gate.wait()  # two questions are in flight, so the seven before them are stored
        process.send_signal(number)
        assert process.wait(30) == (130 if number == signal.SIGINT else -number)
        release.set()
        assert sum(len(records_of(tmp_path, name)) for name in NAMES) == 7
        evaluate(config_of(server, tmp_path), live=False)
        assert len(server.bodies) == ITEMS + 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "openai:"], "model = 'openai:' names no model"),
        (["--model", "openai:a", "--gates"], "gates is set, but nobody sees into openai:a"),
        (["--model", "openai:a", "--replica.gpus", "0"], "replica is of models that replicas load"),
        (["--model", "folder", "--endpoint.concurrency", "2"], "endpoint is of models behind one"),
        (["--model", "openai:a", "--endpoint.base-url", "http://me:pw@host/v1"], "CLI_RAY_MODEL_API_KEY"),
        (["--model", "openai:a", "--endpoint.base-url", "http://host/v1?key=1"], "holds a login or a query"),
        (["--model", "openai:a", "--endpoint.base-url", "file:///etc", "--miniature"], "must begin with http:// or"),
        (["--model", "openai:a", "--endpoint.base-url", "http:///v1", "--miniature"], "and name a host"),
        (["--model", "openai:a", "--endpoint.base-url", "http://[::1", "--miniature"], "endpoint.base_url is no addr"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_asked(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *words, "--output", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
