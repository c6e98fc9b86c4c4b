"""`cli-ray serve` with a tiny model on a real Ray cluster, asked by clients that nobody here wrote."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import ray
from openai import AsyncOpenAI, OpenAI

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig
from cli_ray.evals.items.sources import locate
from cli_ray.evals.results.samples import read_columns
from cli_ray.evals.run import evaluate
from cli_ray.evals.suite import benchmark
from cli_ray.inference.engine import Engine
from cli_ray.inference.request import Request
from cli_ray.inference.sampling import Sampling
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny
from cli_ray.serve.question import Question
from tests.evals.generation.charts import REPLICA, png, save_model
from tests.model.batches import injection, open_gates
from tests.ports import free_ports
from tests.processes import descendants
from tests.serve.lmms_client import asked_by_lmms_eval, questions
from tests.serve.test_hostile_requests import image_url

pytestmark = pytest.mark.slow

NAMES = ("chartqa", "pope", "mmmu-val")
COLUMNS = ("sample_id", "reply")
KEY = "sesame"
REPLICA_PROCESS = b"ray::ServeReplica:cli_ray:Replica"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model with injection."""
    tiny = attach(build_tiny("llava_onevision"), injection())
    open_gates(tiny)
    return save_model(tmp_path_factory.mktemp("served") / "tiny", "llava_onevision", tiny)


@pytest.fixture(scope="module")
def served(cluster: None, model: str) -> Iterator[str]:
    """The address of a server, which goes when it is told to."""
    (port,) = free_ports(1)
    address = ray.get_runtime_context().gcs_address
    command = ["serve", "--model", model, "--port", str(port), "--replica.gpus", "0", "--replica.dtype", "fp32"]
    server = subprocess.Popen(
        [sys.executable, "-m", "cli_ray", *command],
        env=os.environ | {"RAY_ADDRESS": address, "CLI_RAY_API_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    told = _until_served(server.stdout)
    assert f"tiny is served at http://127.0.0.1:{port}/v1" in told
    assert KEY not in told
    yield f"http://127.0.0.1:{port}"
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 128 + signal.SIGTERM
    named = {one["name"] for one in ray.util.list_named_actors(all_namespaces=True)}
    assert not [name for name in named if name.startswith("SERVE_")]


def _until_served(lines: IO[str]) -> str:
    told = ""
    for line in lines:
        told += line
        if "try: curl" in line:
            break
    return told


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[OpenAI]:
    """OpenAI's SDK."""
    with OpenAI(base_url=f"{served}/v1", api_key=KEY, max_retries=0) as one:
        yield one


def asked(seed: int) -> list[Any]:
    """A question about a picture, as OpenAI writes it."""
    image = {"type": "image_url", "image_url": {"url": image_url(png(seed))}}
    return [{"role": "user", "content": [image, {"type": "text", "text": f"How many {'very ' * seed}high?"}]}]


@pytest.fixture(scope="module")
def expected(model: str) -> list[str]:
    """What the engine answers, one question at a time."""
    engine, texts = Engine(model, REPLICA), []
    for seed in range(6):
        spoken = Question.model_validate({"model": "tiny", "messages": asked(seed)}).spoken()
        [answer] = engine.generate([Request(spoken, (png(seed),), Sampling(max_new_tokens=12))])
        assert not isinstance(answer, Exception)
        texts.append(answer.text)
    assert len(set(texts)) == len(texts)
    return texts


def test_the_sdk_gets_the_replies_of_the_engine(client: OpenAI, expected: list[str]) -> None:
    said = [
        client.chat.completions.create(model="tiny", messages=asked(seed), max_tokens=12, temperature=0)
        for seed in range(6)
    ]
    assert [answer.choices[0].message.content for answer in said] == expected
    assert all(answer.usage and answer.usage.prompt_tokens > 16 for answer in said)


def test_streams_that_run_at_once_bring_each_its_own_reply(served: str, expected: list[str]) -> None:
    async def one(client: AsyncOpenAI, seed: int) -> str:
        stream = await client.chat.completions.create(model="tiny", messages=asked(seed), max_tokens=12, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_at_once() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served}/v1", api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(6)))

    assert asyncio.run(all_at_once()) == expected


def test_a_drawn_reply_depends_on_its_seed_and_on_nothing_else(client: OpenAI) -> None:
    def drawn(seed: int, n: int) -> list[str | None]:
        answer = client.chat.completions.create(
            model="tiny", messages=asked(1), max_tokens=12, temperature=1.5, seed=seed, n=n
        )
        return [choice.message.content for choice in answer.choices]

    first = drawn(7, 3)
    assert drawn(7, 1) == first[:1]
    assert drawn(8, 2) == first[1:]
    assert len(set(first)) == 3


def test_lmms_eval_gets_the_replies_of_our_own_evaluation(served: str, model: str, tmp_path: Path) -> None:
    output = tmp_path / "results"
    values = {"model": model, "output": str(output), "benchmarks": NAMES, "miniature": True}
    evaluate(EvaluationConfig.model_validate(values | {"replica": REPLICA.model_copy(update={"count": 1})}))
    for name in NAMES:
        items = questions(locate(benchmark(name), "", True))
        replies = asked_by_lmms_eval(f"{served}/v1", "tiny", list(items.values()), KEY)
        records = {row["sample_id"]: row["reply"] for row in read_columns(f"{output}/samples/{name}.parquet", COLUMNS)}
        assert dict(zip(items, replies, strict=True)) == records


def test_a_second_server_on_the_cluster_is_refused(served: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", model, "--replica.gpus", "0"]) == 1
    assert "serves cli_ray already" in capsys.readouterr().err


def test_ray_gives_the_figures_to_prometheus(served: str, client: OpenAI) -> None:
    wanted = {"cli_ray_serve_requests", "cli_ray_serve_seconds", "cli_ray_serve_queue", "cli_ray_serve_batch_size"}
    wanted |= {"cli_ray_serve_prompt_tokens", "cli_ray_serve_reply_tokens"}
    until, text = time.monotonic() + 60, ""
    while not all(f"ray_{name}" in text for name in wanted):
        assert time.monotonic() < until, sorted(name for name in wanted if name not in text)
        client.chat.completions.create(model="tiny", messages=asked(0), max_tokens=2)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        addresses = {f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes}
        text = "".join(httpx.get(address).text for address in addresses)


def test_a_replica_that_is_killed_is_replaced_and_its_request_answered(
    served: str, client: OpenAI, expected: list[str]
) -> None:
    """The last test, for the server has another replica behind it."""
    below = descendants([os.getpid()])
    replicas = [one for one in below if Path(f"/proc/{one}/cmdline").read_bytes().startswith(REPLICA_PROCESS)]
    for process in replicas:
        os.kill(process, signal.SIGKILL)
    assert replicas
    answer = client.chat.completions.create(model="tiny", messages=asked(2), max_tokens=12, timeout=120)
    assert answer.choices[0].message.content == expected[2]
    assert httpx.get(f"{served}/health").json() == {"status": "ok", "replicas": 1}
