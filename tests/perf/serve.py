"""The server under load: a replica that is killed, and batches against one request at a time.

    python -m tests.perf.serve [--model DIR] [--requests 200] [--clients 16]

A random model of width 256 answers questions on pictures, all different, so that no reply is another one's. First one
client asks all of them alone, then 16 clients ask them of two replicas, every other one as a stream, while one replica
is killed by SIGKILL. Each request must get its own reply or a clear error. Then one replica with batches of 16 and one
without batches serve the same clients, three times in turn: requests/s as a ratio, replies of 32 tokens.
"""

import argparse
import base64
import itertools
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import ray
from ray import serve

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.config.serving import ServeConfig
from cli_ray.costs.tiny import TinySize
from cli_ray.data.synthetic import synthesize
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.serve.app import NAME, application
from tests.evals.generation.charts import save_model
from tests.model.batches import injection, open_gates
from tests.ports import free_ports
from tests.processes import descendants

SIZE = TinySize(image_size=112, patch_size=14, vision_width=128, decoder_layers=8, decoder_width=256, heads=8)
TOKENS = 32
PATIENCE_S = 120.0
"""In which each request must end."""
REPLICA = b"ray::ServeReplica:cli_ray:Replica"
WITHIN_S = 0.3
"""From a reply to the kill: batches have begun then."""
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request."""

    index: int
    text: str
    """Empty where there is an error."""
    error: str
    """Its status and code, or `hung`."""
    seconds: float


class Load:
    """Questions to a server.

    Args:
        url: of the server.
        bodies: of the requests.
        clients: at once.
    """

    def __init__(self, url: str, bodies: Sequence[dict[str, Any]], clients: int) -> None:
        self._bodies, self._clients = bodies, clients
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_S, limits=httpx.Limits(max_connections=None))

    def run(self, clients: int = 0, after: int = 0, then: Callable[[], None] = lambda: None) -> list[Outcome]:
        """Asks everything once, whole and as a stream by turns.

        Args:
            clients: another number of them.
            after: replies after which something happens.
            then: what happens.
        """
        done = itertools.count(1)

        def one(index: int) -> Outcome:
            outcome = self._asked(index, stream=index % 2 == 1)
            if next(done) == after:
                threading.Timer(WITHIN_S, then).start()
            return outcome

        with ThreadPoolExecutor(clients or self._clients) as pool:
            return list(pool.map(one, range(len(self._bodies))))

    def _asked(self, index: int, *, stream: bool) -> Outcome:
        begun = time.monotonic()
        text, error = "", ""
        try:
            response = self._client.post("/v1/chat/completions", json=self._bodies[index] | {"stream": stream})
            text, error = _streamed(response.text) if stream and response.is_success else _whole(response)
        except httpx.TimeoutException:
            error = "hung"
        except httpx.HTTPError as failure:
            error = f"no response: {type(failure).__name__}"
        return Outcome(index, text, error, time.monotonic() - begun)


def _whole(response: httpx.Response) -> tuple[str, str]:
    body = response.json()
    if not response.is_success:
        return "", f"{response.status_code} {body['error']['code']}"
    return body["choices"][0]["message"]["content"], ""


def _streamed(text: str) -> tuple[str, str]:
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    if events[-1] != "[DONE]":
        return "", f"stream {json.loads(events[-1])['error']['code']}"
    choices = [json.loads(event)["choices"][0] for event in events[:-1]]
    return "".join(choice["delta"].get("content", "") for choice in choices), ""


def bodies(model: str, count: int) -> list[dict[str, Any]]:
    """Requests with a picture and a question each."""
    asked = []
    for sample in synthesize(count, seed=0, split="held_out"):
        url = f"data:image/png;base64,{base64.b64encode(sample.image).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": sample.turns[0].question}]
        message = {"role": "user", "content": parts}
        asked.append({"model": model, "messages": [message], "max_tokens": TOKENS, "temperature": 0})
    return asked


def kill_a_replica() -> None:
    """Ends the process of one replica of this program's cluster."""
    for process in descendants([os.getpid()]):
        if Path(f"/proc/{process}/cmdline").read_bytes().startswith(REPLICA):
            os.kill(process, signal.SIGKILL)
            return


def deploy(model: str, replicas: int, batch_size: int) -> None:
    """Serves the model, in place of what was served."""
    replica = ReplicaConfig(gpus=0, dtype="fp32", batch_size=batch_size)
    config = ServeConfig(model=model, name="model", replica=replica, min_replicas=replicas, max_replicas=replicas)
    serve.run(application(config, b""), name=NAME)


def killed(load: Load, alone: Sequence[Outcome]) -> None:
    """Prints what became of the requests of a server that lost a replica."""
    outcomes = load.run(after=len(alone) // 4, then=kill_a_replica)
    errors = Counter(outcome.error for outcome in outcomes if outcome.error)
    right = sum(outcome.text == one.text for outcome, one in zip(outcomes, alone, strict=True) if not outcome.error)
    answered = len(outcomes) - errors.total()
    times = quantiles([outcome.seconds for outcome in outcomes], n=100)
    print(f"one of two replicas killed: {answered} of {len(outcomes)} answered, {right} of them as when asked alone")
    print(f"errors: {dict(errors) or 'none'}")
    print(f"seconds of a request: median {times[49]:.2f}, 95% {times[94]:.2f}, longest {times[98]:.2f}")


def rate(load: Load, count: int) -> float:
    """Requests/s of the clients."""
    begun = time.monotonic()
    assert not [outcome.error for outcome in load.run() if outcome.error]
    return count / (time.monotonic() - begun)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not (model := arguments.model):
            tiny = attach(build_tiny("llava", size=SIZE), injection())
            open_gates(tiny)
            model = save_model(Path(folder), "llava", tiny)
            tiny_processor("llava", SIZE).save_pretrained(model)
        (port,) = free_ports(1)
        ray.init(address="local", num_cpus=4, logging_level="warning", log_to_driver=False)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        load = Load(f"http://127.0.0.1:{port}", bodies("model", arguments.requests), arguments.clients)
        deploy(model, replicas=2, batch_size=16)
        alone = load.run(clients=1)
        print(f"asked alone: {len({outcome.text for outcome in alone})} different replies to {len(alone)} requests")
        killed(load, alone)
        ratios = []
        for _ in range(ROUNDS):
            rates = []
            for batch_size in (16, 1):
                deploy(model, replicas=1, batch_size=batch_size)
                rates.append(rate(load, arguments.requests))
            ratios.append(rates[0] / rates[1])
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"requests/s with batches of 16 by one at a time: {median(ratios):.2f} ({shown})")
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
