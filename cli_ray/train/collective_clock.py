"""Where the time of a step goes on this rank: in collectives, waiting for other ranks and exchanging data with them,
and in the phases of the step.

The engine has one, which stops in each collective of DeepSpeed (see `deepspeed_private.clock_collectives`) and of its
own, and is told where a phase ends. Where collectives block the host, as with gloo, it is a stopwatch of the host. On a
GPU it is events in the stream that computes: the time in which this stream stood still, or went on in a phase. Nothing
waits for them but their reading, which comes when a step is over.
"""

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


class CollectiveClock(ABC):
    """Runs within a `with` block, in which this rank computes nothing because of a collective; once where they nest."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_running = False

    @abstractmethod
    def reset(self) -> None:
        """Begins a step."""

    @abstractmethod
    def read_ms(self) -> float:
        """Milliseconds since the last reset."""

    @abstractmethod
    def mark(self, phase: str) -> None:
        """The time since the last mark, or the reset, was that of a phase; not within a collective."""

    @abstractmethod
    def phases_ms(self) -> dict[str, float]:
        """By phase, milliseconds since the last reset without those in collectives; 0 for one that was not marked."""

    @abstractmethod
    def _start(self) -> bool:
        """Before a collective; False where it does not stop the computation."""

    @abstractmethod
    def _stop(self) -> None:
        """After it."""

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._is_running = self._start()

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth and self._is_running:
            self._stop()

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with the clock running; of an asynchronous collective in its `wait` too."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                result = function(*args, **kwargs)
            return Timed(result, self) if hasattr(result, "wait") else result

        return call


class Timed:
    """The handle of a collective that goes on, with a clocked `wait`."""

    def __init__(self, handle: Any, clock: CollectiveClock) -> None:
        self._handle, self._clock = handle, clock

    def wait(self, *args: Any) -> Any:
        """As the handle's."""
        with self._clock:
            return self._handle.wait(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


class HostClock(CollectiveClock):
    """For collectives that block the host."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = self._since = 0.0
        self._phases: defaultdict[str, float] = defaultdict(float)
        self._marked = (0.0, 0.0)
        """The time of the last mark, and the seconds in collectives until then."""

    def reset(self) -> None:
        """See the base class."""
        self._seconds = 0.0
        self._phases.clear()
        self._marked = (time.perf_counter(), 0.0)

    def read_ms(self) -> float:
        """See the base class."""
        return self._seconds * 1e3

    def mark(self, phase: str) -> None:
        """See the base class."""
        (begun, waited), now = self._marked, time.perf_counter()
        self._phases[phase] += now - begun - (self._seconds - waited)
        self._marked = (now, self._seconds)

    def phases_ms(self) -> dict[str, float]:
        """See the base class."""
        return defaultdict(float, {phase: seconds * 1e3 for phase, seconds in self._phases.items()})

    def _start(self) -> bool:
        self._since = time.perf_counter()
        return True

    def _stop(self) -> None:
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
        self._borders: list[torch.cuda.Event] = []
        """The reset and the marks, used again in each step."""
        self._marks: list[tuple[str, int]] = []
        """The phase that ends at each mark, and the events of collectives that were used until then."""
        self.reset()

    def reset(self) -> None:
        """See the base class."""
        self._used = 0
        self._marks.clear()
        self._border(0)

    def read_ms(self) -> float:
        """See the base class; waits until the last collective is over, as the end of a step has done before."""
        return self._waited_ms(0, self._used)

    def mark(self, phase: str) -> None:
        """See the base class."""
        self._marks.append((phase, self._used))
        self._border(len(self._marks))

    def phases_ms(self) -> dict[str, float]:
        """See the base class; waits until the last phase is over."""
        phases, used = defaultdict[str, float](float), 0
        for number, (phase, until) in enumerate(self._marks):
            start, end = self._borders[number : number + 2]
            end.synchronize()
            phases[phase] += start.elapsed_time(end) - self._waited_ms(used, until)
            used = until
        return phases

    def _waited_ms(self, first: int, end: int) -> float:
        """The time between the events of collectives, from one to before another."""
        events = self._events[first:end]
        if events:
            events[-1].synchronize()
        total: float = sum(start.elapsed_time(end) for start, end in zip(events[::2], events[1::2], strict=True))
        return total

    def _border(self, number: int) -> None:
        if number == len(self._borders):
            self._borders.append(torch.cuda.Event(enable_timing=True))
        self._borders[number].record(self._stream)

    def _start(self) -> bool:
        computes = bool(torch.cuda.current_stream(self._stream.device) == self._stream)
        if computes:
            self._record()
        return computes

    def _stop(self) -> None:
        self._record()

    def _record(self) -> None:
        if self._used == len(self._events):
            self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[self._used].record(self._stream)
        self._used += 1


def clock_for(device: torch.device) -> CollectiveClock:
    """The clock that fits the collectives of a device."""
    return StreamClock(torch.cuda.current_stream(device)) if device.type == "cuda" else HostClock()
