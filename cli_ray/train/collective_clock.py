"""The time that this rank spends in collectives: waiting for other ranks, and exchanging data with them.

The engine has one, which stops in each collective of DeepSpeed (see `deepspeed_private.clock_collectives`) and of its
own. Where collectives block the host, as with gloo, it is a stopwatch of the host. On a GPU it is pairs of events in
the stream that computes: the time in which this stream stood still. Nothing waits for them but their reading, which
comes when a step is over.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch


class CollectiveClock(ABC):
    """Runs while this rank computes nothing because of a collective."""

    def __init__(self) -> None:
        self._is_running = False

    @abstractmethod
    def reset(self) -> None:
        """Begins a step."""

    @abstractmethod
    def read_ms(self) -> float:
        """Milliseconds since the last reset."""

    @abstractmethod
    def counts(self) -> bool:
        """Whether what the caller is about to wait for stops the computation."""

    @abstractmethod
    def start(self) -> None:
        """Before a collective."""

    @abstractmethod
    def stop(self) -> None:
        """After it."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts what happens within, once where calls are nested."""
        if self._is_running or not self.counts():
            yield
            return
        self._is_running = True
        self.start()
        try:
            yield
        finally:
            self.stop()
            self._is_running = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function within `running`; of an asynchronous collective its `wait` too."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.running():
                result = function(*args, **kwargs)
            return Timed(result, self) if hasattr(result, "wait") else result

        return call


class Timed:
    """The handle of a collective that goes on, with a clocked `wait`."""

    def __init__(self, handle: Any, clock: CollectiveClock) -> None:
        self._handle, self._clock = handle, clock

    def wait(self, *args: Any) -> Any:
        """As the handle's."""
        with self._clock.running():
            return self._handle.wait(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


class HostClock(CollectiveClock):
    """For collectives that block the host."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = self._since = 0.0

    def reset(self) -> None:
        """See the base class."""
        self._seconds = 0.0

    def read_ms(self) -> float:
        """See the base class."""
        return self._seconds * 1e3

    def counts(self) -> bool:
        """Always."""
        return True

    def start(self) -> None:
        """See the base class."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """See the base class."""
        self._seconds += time.perf_counter() - self._since


class StreamClock(CollectiveClock):
    """For collectives that a stream of a GPU waits for.

    Args:
        stream: that computes. Collectives that another one waits for go on beside it and are not counted.
    """

    def __init__(self, stream: torch.cuda.Stream) -> None:
        super().__init__()
        self._stream = stream
        self._events: list[torch.cuda.Event] = []
        """Start and end in turn, used again in each step."""
        self._used = 0

    def reset(self) -> None:
        """See the base class."""
        self._used = 0

    def read_ms(self) -> float:
        """See the base class; waits until the last collective is over, as the end of a step has done before."""
        events = self._events[: self._used]
        if events:
            events[-1].synchronize()
        total: float = sum(start.elapsed_time(end) for start, end in zip(events[::2], events[1::2], strict=True))
        return total

    def counts(self) -> bool:
        """In the stream that computes."""
        return bool(torch.cuda.current_stream(self._stream.device) == self._stream)

    def start(self) -> None:
        """See the base class."""
        self._record()

    def stop(self) -> None:
        """See the base class."""
        self._record()

    def _record(self) -> None:
        if self._used == len(self._events):
            self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[self._used].record(self._stream)
        self._used += 1


def clock_for(device: torch.device) -> CollectiveClock:
    """The clock that fits the collectives of a device."""
    return StreamClock(torch.cuda.current_stream(device)) if device.type == "cuda" else HostClock()
