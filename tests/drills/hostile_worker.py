"""The process that reads hostile shards: an audit hook sees what it unpickles, writes, starts or calls up."""

import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from cli_ray.data.encoder import Encoder
from cli_ray.data.index import build_index
from cli_ray.data.quarantine import Quarantine
from cli_ray.data.reading import read_here
from cli_ray.data.sample import BadSample, Encoded, Row
from cli_ray.data.stream import Stream, Windows
from cli_ray.errors import UserError
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import data_config

LIMITS = {"max_length": 512, "max_image_MiB": 1, "max_image_pixels": 4_000_000}
_FORBIDDEN = ("pickle.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.", "os.mkdir",
              "os.rename", "os.symlink", "os.link", "os.remove", "os.chmod", "os.truncate", "shutil.")  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_SOUND = re.compile(r"#\d+:(sound-(\d+))$")


@dataclass
class Outcome:
    """What came of a source."""

    of_input: dict[int, set[str]] = field(default_factory=dict)
    """Reasons by input, `good` among them."""
    refused: bool = False
    """The source as a whole, by a UserError."""
    good: set[str] = field(default_factory=set)
    """Keys of sound samples that came through."""
    faults: list[str] = field(default_factory=list)
    peak_kib: int = 0

    def reasons(self, inputs: int) -> list[str]:
        """One text for each input."""
        if self.refused:
            return ["source refused"] * inputs
        found: list[set[str]] = [set() for _ in range(inputs)]
        for number, reasons in self.of_input.items():
            found[min(number, inputs - 1)] |= reasons
        return [", ".join(sorted(reasons)) or "no sample of its own" for reasons in found]


def work(connection: Connection, cwd: str) -> None:
    """Reads the sources whose folders come, until it is killed."""
    os.chdir(cwd)
    sys.dont_write_bytecode = True
    watch = _Watch()
    encoder = Encoder(tiny_processor("llava"), data_config("unused", **LIMITS))
    connection.send("ready")
    while True:
        folder = connection.recv()
        outcome = Outcome()
        watch.seen = []
        try:
            _sort(sorted(_read(folder, encoder), key=lambda row: _number(row.id)), outcome)
        except UserError:
            outcome.refused = True
        except Exception as error:
            outcome.faults.append(f"{type(error).__name__}: {error} {getattr(error, '__notes__', '')}")
        outcome.faults += watch.seen
        watch.seen = None
        outcome.peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        connection.send(outcome)


class _Watch:
    """Notes forbidden events of the interpreter while `seen` is a list."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.seen is None:
            return
        if event == "open":
            flags = arguments[2]
            if isinstance(flags, int) and flags & _WRITES:
                self.seen.append(f"wrote {arguments[0]!r}")
        elif event.startswith(_FORBIDDEN):
            self.seen.append(f"{event}{arguments!r}"[:300])


def _read(folder: str, encoder: Encoder) -> list[Row]:
    """All rows of an epoch, each once."""
    data = data_config(folder, **LIMITS)
    index, rows = build_index(data), list[Row]()

    def read(windows: Windows) -> Iterator[list[Row]]:
        for found in read_here(windows, index.sources, encoder):
            rows.extend(found)
            yield found

    stream = Stream(
        index, data, encoder, seed=0, lanes=1, rank=0, world_size=1, micro_batch_size=4, global_batch_size=4, read=read
    )
    for _ in stream.iterate(0):
        pass
    if sorted(_number(row.id) for row in rows) != list(range(index.num_samples)):
        raise AssertionError(f"{len(rows)} of {index.num_samples} samples came")
    return rows


def _sort(rows: list[Row], outcome: Outcome) -> None:
    """Which row belongs to which input; every line of the quarantine must be one line that can be printed."""
    lines: list[str] = []
    Quarantine(lines.append, "quarantine").add(row for row in rows if isinstance(row, BadSample))
    outcome.faults += [f"forged: {line!r}" for line in lines if not line.isprintable() or not json.loads(line)]
    at = 0
    for row in rows:
        if match := _SOUND.search(row.id):
            at = int(match[2])
        if match and isinstance(row, Encoded):
            outcome.good.add(match[1])
        else:
            outcome.of_input.setdefault(at, set()).add("good" if isinstance(row, Encoded) else row.reason)


def _number(name: str) -> int:
    found = re.search(r"#(\d+)", name)
    assert found is not None
    return int(found[1])
