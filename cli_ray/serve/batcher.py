"""Batches of the requests that come to a replica of the model.

Not `serve.batch`: its bound is on one size, while ours are on rows and tokens; it sends what does not fit to the end of
the queue; and it hears of a caller that is gone only between batches. The engine also works in a thread, for it holds
the processor for a whole batch, so that a queue of its own is all that is missing.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.inference.request import Answer, BadRequestError, Request
from cli_ray.text import first_line


@dataclass(frozen=True, slots=True)
class Refused:
    """What the engine cannot be asked; travels to the ingress as a value, since Ray would log an exception."""

    reason: str


class EngineLostError(Exception):
    """The engine generates no more; its replica is about to be replaced."""


Said = str | Answer | Refused
"""A piece of a reply, or its end."""


@dataclass(slots=True, eq=False)
class _Row:
    """A request that waits for a batch, or is in one."""

    request: Request
    tokens: int
    """Of the prompt, and of the reply at most."""
    streams: bool
    loop: asyncio.AbstractEventLoop
    said: asyncio.Queue[Said | Exception] = field(default_factory=asyncio.Queue)
    is_cancelled: bool = False

    def say(self, item: Said | Exception) -> None:
        """Hands something to the caller, from any thread."""
        self.loop.call_soon_threadsafe(self.said.put_nowait, item)


class Engine(Protocol):
    """What generates: `inference.engine.Engine`, which is not imported, for the ingress needs no torch."""

    def check(self, request: Request) -> int:
        """Tokens of the prompt. Called from other threads than `generate`.

        Raises:
            BadRequestError: it cannot be asked.
        """
        ...

    def generate(
        self, requests: Sequence[Request], on_text: Callable[[int, str], None], is_cancelled: Callable[[int], bool]
    ) -> Sequence[Answer | Exception]:
        """The replies to a batch."""
        ...


class Batcher:
    """Puts requests to an engine in batches, in the order in which they come.

    Args:
        engine: used by one thread for replies and by others for `check`.
        replica: `batch_size` and `batch_tokens` are the bounds of a batch.
        wait_s: seconds that the first request of a batch waits for others.
        on_batch: told the number of requests of each batch.
    """

    def __init__(self, engine: Engine, replica: ReplicaConfig, wait_s: float, on_batch: Callable[[int], None]) -> None:
        self._engine, self._replica, self._wait_s, self._on_batch = engine, replica, wait_s, on_batch
        self._waiting: deque[_Row] = deque()
        self._changed = threading.Condition()
        self.fault: EngineLostError | None = None
        """Why no batch can be generated any more; None while all is well."""
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    async def reply(self, request: Request, streams: bool) -> AsyncGenerator[Said]:
        """The pieces of a reply if it streams, then the `Answer`; or `Refused` alone. A caller that stops listening
        frees its place in the batch."""
        try:
            tokens = await asyncio.to_thread(self._engine.check, request)
        except BadRequestError as error:
            yield Refused(str(error))
            return
        row = _Row(request, tokens + request.sampling.max_new_tokens, streams, asyncio.get_running_loop())
        with self._changed:
            if self.fault is not None:
                raise self.fault
            self._waiting.append(row)
            self._changed.notify()
        try:
            item: Said | Exception = ""
            while isinstance(item, str):
                item = await row.said.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            row.is_cancelled = True

    def _run(self) -> None:
        while self.fault is None:
            rows = self._next_batch()
            self._on_batch(len(rows))
            for row, item in zip(rows, self._generated(rows), strict=True):
                row.say(Refused(str(item)) if isinstance(item, BadRequestError) else item)
        with self._changed:
            for row in self._waiting:
                row.say(self.fault)

    def _generated(self, rows: list[_Row]) -> Sequence[Answer | Exception]:
        def on_text(index: int, piece: str) -> None:
            if rows[index].streams:
                rows[index].say(piece)

        try:
            return self._engine.generate([row.request for row in rows], on_text, lambda index: rows[index].is_cancelled)
        except Exception as error:  # of the engine, not of a request
            self.fault = EngineLostError(f"{type(error).__name__}: {first_line(error)}")
            return [self.fault] * len(rows)

    def _next_batch(self) -> list[_Row]:
        """Waits for requests and takes those that fit, the first in any case."""
        with self._changed:
            rows: list[_Row] = []
            while not rows:
                self._changed.wait_for(lambda: self._waiting)
                self._changed.wait_for(self._is_full, self._wait_s)
                rows = [self._waiting.popleft() for _ in range(self._fitting())]
            return rows

    def _is_full(self) -> bool:
        fitting = self._fitting()
        return fitting == self._replica.batch_size or fitting < len(self._waiting)

    def _fitting(self) -> int:
        """How many of those that wait make a batch. Rows are padded to the longest one."""
        for row in [row for row in self._waiting if row.is_cancelled]:
            self._waiting.remove(row)
        count, longest = 0, 0
        for row in self._waiting:
            longest = max(longest, row.tokens)
            if count and (count == self._replica.batch_size or (count + 1) * longest > self._replica.batch_tokens):
                break
            count += 1
        return count
