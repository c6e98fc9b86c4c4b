"""The API on a port of this machine, with an engine that needs no model."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import uvicorn

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.config.serving import ServeConfig
from cli_ray.data.sample import IMAGE_MARK
from cli_ray.inference.request import Answer, BadRequestError, Request
from cli_ray.serve.api import Api
from cli_ray.serve.batcher import Batcher, Said
from tests.ports import free_ports

CONTEXT = 1000
"""Words of a prompt at most."""


class Echo:
    """An engine that repeats the last text, word by word, as long as it may and nobody holds it up."""

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.fault: Exception | None = None
        self.cancelled: list[str] = []

    def check(self, request: Request) -> int:
        """Words of the prompt, and a token for each image."""
        tokens = sum(len(message.content.split()) for message in request.messages)
        if tokens > CONTEXT:
            raise BadRequestError(f"the prompt has {tokens} tokens, the model reads {CONTEXT}")
        return tokens

    def generate(
        self,
        requests: Sequence[Request],
        on_text: Callable[[int, str], None] = lambda index, piece: None,
        is_cancelled: Callable[[int], bool] = lambda index: False,
    ) -> list[Answer | Exception]:
        """A batch."""
        self.batches.append(list(requests))
        self.may_go_on.wait(10)
        if self.fault is not None:
            raise self.fault
        return [self._answer(index, request, on_text, is_cancelled) for index, request in enumerate(requests)]

    def _answer(
        self, index: int, request: Request, on_text: Callable[[int, str], None], is_cancelled: Callable[[int], bool]
    ) -> Answer | Exception:
        text = request.messages[-1].content.replace(IMAGE_MARK, "").strip()
        if "fail" in text:
            return RuntimeError(f"secret of {text}")
        if is_cancelled(index):
            self.cancelled.append(text)
        words = text.split()
        said = words[: request.sampling.max_new_tokens]
        pieces = [f"{' ' * bool(place)}{word}" for place, word in enumerate(said)]
        for piece in pieces:
            on_text(index, piece)
        finish: Literal["stop", "length"] = "stop" if said == words else "length"
        return Answer("".join(pieces), finish, self.check(request), len(said), None)


class LocalModel:
    """A batcher of this process as the API sees it. See `api.Model`."""

    def __init__(self, engine: Any, config: ServeConfig) -> None:
        self.sizes: list[int] = []
        self.batcher = Batcher(engine, config.replica, config.wait_ms / 1000, self.sizes.append)

    async def reply(self, request: Request, streams: bool) -> AsyncGenerator[Said]:
        """See `Batcher.reply`."""
        async for item in self.batcher.reply(request, streams):
            yield item

    async def replicas(self) -> int:
        """This one, while it works."""
        return int(self.batcher.fault is None)


@dataclass
class Watched:
    """What the API tells. See `api.Watcher`."""

    taken: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def begin(self, taken: int) -> None:
        """Keeps how many."""
        self.taken.append(taken)

    def end(self, status: int, seconds: float) -> None:
        """Keeps the status."""
        self.statuses.append(status)

    def tokens(self, answers: Sequence[Answer]) -> None:
        """Keeps the replies."""
        self.answers += answers


@dataclass
class Served:
    """A server that runs."""

    url: str
    port: int
    engine: Echo
    model: LocalModel
    watched: Watched
    client: httpx.Client


def config_of(**fields: Any) -> ServeConfig:
    """A config that needs no model."""
    replica = ReplicaConfig(gpus=0, batch_size=4, batch_tokens=4000)
    return ServeConfig.model_validate({"model": "models/echo", "replica": replica, "wait_ms": 1, **fields})


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that another thread does."""
    while not condition():
        time.sleep(0.002)


@contextmanager
def serving(config: ServeConfig, digest: bytes = b"") -> Iterator[Served]:
    """Within, the API listens on a port."""
    engine, watched, port = Echo(), Watched(), free_ports(1)[0]
    model = LocalModel(engine, config)
    app = Api(model, config, digest, watched).application()
    # A connection that a slow machine leaves idle must not be closed just as it is used again.
    config_of_server = uvicorn.Config(app, port=port, log_level="critical", lifespan="off", timeout_keep_alive=600)
    server = uvicorn.Server(config_of_server)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=20) as client:
        yield Served(url, port, engine, model, watched, client)
    engine.may_go_on.set()
    server.should_exit = True
    thread.join(10)
