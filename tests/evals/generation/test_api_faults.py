"""Endpoints that fail, refuse or change, calls that are stopped, and arguments that cannot work."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.errors import RunFailedError
from cli_ray.evals.generation import api
from cli_ray.evals.run import evaluate
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.generation.seer import ITEMS, KEY, NAMES, config_of, records_of, seer

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

pytestmark = pytest.mark.usefixtures("no_pauses")


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
            # Shells start what runs in the background with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
