"""Replies as they are stored the moment they are generated, in `records/<benchmark>/<session>.jsonl` of an output.

`cli_ray.evals.generation` makes the records and appends them to a `Store`, on any pyarrow filesystem; scoring and the
judge read them. Nothing is ever overwritten: each `Store` writes files of its own, so that two drivers on one output
harm nothing. Both records of a sample lie there then, and the first counts.
"""

import hashlib
import posixpath
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Literal

from pyarrow import fs
from pydantic import BaseModel, ValidationError

from cli_ray.evals.benchmark import Reply
from cli_ray.inference.injected import RECORD, Injected
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import json_lines, split_lines

FLUSH_SECONDS = 5.0
"""Between files on object stores, which cannot append."""


class Served(BaseModel):
    """What the endpoint of a model says beside its reply."""

    model_config = RECORD

    model: str
    """That it ran, as it calls it; empty where it does not say."""
    fingerprint: str
    """Of its system; most say none."""
    date: str
    """Of the reply, in UTC, such as `2026-11-27`."""
    cached_tokens: int
    """Of the prompt's."""
    reasoning_tokens: int
    """Of the reply's."""


class ReplyRecord(BaseModel):
    """A reply and all that it depends on."""

    model_config = RECORD

    key: str
    """Of content: equal for equal benchmark, sample, prompt, images, decoding and model."""
    benchmark: str
    sample_id: str
    prompts: str = "lmms-eval"
    """The kit whose words were asked."""
    prompt_hash: str
    image_hash: str
    decoding: str
    """Such as `greedy, 16 tokens, bf16, sdpa`."""
    model: str
    """Hash of the weights and configs, or of an endpoint and its name for the model."""
    reply: str
    finish: Literal["stop", "length", "error"]
    error: str = ""
    """Why there is no reply."""
    attempts: int = 1
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    """Of its batch, divided by the samples in it."""
    injected: Injected | None = None
    """Where it was asked for and something was injected."""
    served: Served | None = None
    """Of a model behind an endpoint."""

    def as_reply(self) -> Reply:
        """The reply as scorers take it."""
        return Reply(self.error or self.reply, self.finish)


def digest(*parts: str | bytes) -> str:
    """32 hex digits of a hash over the parts, whose borders count."""
    content = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        content.update(len(data).to_bytes(8, "little"))
        content.update(data)
    return content.hexdigest()


def key_of(benchmark: str, sample_id: str, prompt_hash: str, image_hash: str, decoding: str, model: str) -> str:
    """The key of a record."""
    return digest(benchmark, sample_id, prompt_hash, image_hash, decoding, model)


class Records(Mapping[str, ReplyRecord]):
    """Records kept as the lines they were stored as, in a third of the memory; each is parsed when it is looked up.

    Args:
        lines: by the names that the records are looked up by.
    """

    def __init__(self, lines: dict[str, bytes]) -> None:
        self._lines = lines

    def __getitem__(self, name: str) -> ReplyRecord:
        return ReplyRecord.model_validate_json(self._lines[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def by(self, keys: Mapping[str, str]) -> "Records":
        """The same records by other names, such as sample ids.

        Args:
            keys: the present name of each new one; what has no record is left out.
        """
        return Records({name: self._lines[key] for name, key in keys.items() if key in self._lines})


class Store:
    """The records below an output folder.

    Args:
        uri: local path or pyarrow URI of the output folder.
    """

    def __init__(self, uri: str) -> None:
        self._folder = Folder(uri)
        self._fs, self._root = self._folder.fs, self._folder.join("records")
        self._session = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        self._local = self._folder.is_local
        self._pending: dict[str, list[str]] = {}
        self._flushed = time.monotonic()
        self._files = count()
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def append(self, records: Sequence[ReplyRecord]) -> None:
        """Stores records: at once on a mounted filesystem, elsewhere within seconds; see `flush`."""
        with self._lock:
            for record in records:
                self._pending.setdefault(record.benchmark, []).append(record.model_dump_json())
            if self._local or time.monotonic() - self._flushed >= FLUSH_SECONDS:
                self._flush()
            elif self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Writes what an object store was not given yet. Call it at the end."""
        with self._lock:
            self._flush()

    def load(self, benchmark: str) -> Records:
        """The records of a benchmark by key. Of several with one key the first that has a reply counts, or the first
        error. Lines that a killed driver left unfinished are passed over; their samples are simply not done.
        """
        lines: dict[str, bytes] = {}
        for line in self._lines(benchmark):
            try:
                record = ReplyRecord.model_validate_json(line)
            except ValidationError:
                continue
            first = lines.get(record.key)
            if first is None or (record.finish != "error" and _is_error(first)):
                lines[record.key] = line
        return Records(lines)

    def keys(self, benchmark: str, *, errors: bool = True) -> set[str]:
        """The keys of a benchmark's records, without holding those.

        Args:
            errors: also of samples that were recorded as `error` and nothing else.
        """
        found = set()
        for record in json_lines(self._lines(benchmark)):
            if errors or record["finish"] != "error":
                found.add(record["key"])
        return found

    def _flush_late(self) -> None:
        """What cannot be written now is kept, and the next `append` or `flush` raises the reason."""
        with suppress(OSError):
            self.flush()

    def _flush(self) -> None:
        self._timer = None
        for benchmark in list(self._pending):
            suffix = "" if self._local else f"-{next(self._files):06d}"
            self._folder.append(self._path(benchmark, suffix), self._pending[benchmark])
            del self._pending[benchmark]
        self._flushed = time.monotonic()

    def _path(self, benchmark: str, suffix: str = "") -> str:
        """Of a file of this session, below the output folder."""
        return f"records/{benchmark}/{self._session}{suffix}.jsonl"

    def _lines(self, benchmark: str) -> Iterator[bytes]:
        """The lines of a benchmark's files, oldest file first."""
        folder = fs.FileSelector(posixpath.join(self._root, benchmark), allow_not_found=True)
        names = sorted(info.path for info in self._fs.get_file_info(folder) if info.path.endswith(".jsonl"))
        for name in names:
            with self._fs.open_input_stream(name) as file:
                yield from split_lines(file)


def _is_error(line: bytes) -> bool:
    return ReplyRecord.model_validate_json(line).finish == "error"
