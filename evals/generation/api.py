"""A model behind an OpenAI-compatible endpoint, asked from threads of the driver. A backend; needs neither a cluster
nor torch."""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from cli_ray.config import EvaluationConfig
from cli_ray.data.sample import BadDataError
from cli_ray.errors import RunFailedError, UserError
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.endpoint.client import Endpoint, UnansweredError
from cli_ray.evals.endpoint.completion import Completion
from cli_ray.evals.endpoint.crowd import as_answered
from cli_ray.evals.endpoint.role import Role
from cli_ray.evals.endpoint.usage import Usage
from cli_ray.evals.generation.backend import Missing, OnRecords
from cli_ray.evals.generation.job import one_line, recorded
from cli_ray.evals.generation.messages import message_of
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import read
from cli_ray.evals.items.survey import Entry, scan
from cli_ray.evals.records import ReplyRecord, Served, digest
from cli_ray.evals.results.progress import Progress

KEY_VARIABLE = "CLI_RAY_MODEL_API_KEY"
"""The environment variable that holds the key of the endpoint; without it none is sent."""
MODEL = Role("model", "endpoint.base_url", "model", KEY_VARIABLE)

FRUITLESS = 50
"""Items that may get no answer one after the other before the call ends; none of them is recorded then."""
_READERS = 8
"""Parts of a benchmark that are scanned at once."""


@dataclass(frozen=True, slots=True)
class _Item:
    """An item to ask."""

    location: Location
    entry: Entry
    doc: Doc | None
    """None where the row is there no longer."""


class Api:
    """See `Backend`. What the endpoint runs under a name may change; each record has what it says of that.

    Args:
        config: the model and its endpoint.

    Raises:
        UserError: the address or the key cannot be sent.
    """

    def __init__(self, config: EvaluationConfig) -> None:
        self._config, self._name = config.endpoint, config.served_name
        address = str(MODEL.address(self._config.base_url)).rstrip("/")
        self._model_hash = digest("endpoint", address, self._name)
        self._stop = threading.Event()
        self._endpoint = Endpoint(MODEL, self._name, self._config, self._stop)
        self._usage = Usage()
        """Of this call."""
        self._is_short = False
        """Whether this call may use no more tokens, and has items left."""

    @property
    def model_hash(self) -> str:
        """Of the endpoint's address and its name for the model."""
        return self._model_hash

    def decoding(self, max_new_tokens: int) -> str:
        """As the endpoint is asked; records say what it took."""
        return self._decoding(max_new_tokens, "temperature 0")

    def connect(self) -> None:
        """Nothing to do: the first question does."""

    def scan(self, location: Location, decoded: str) -> list[Entry]:
        """See `Backend`."""
        look = partial(scan, location, decoding=decoded, model=self.model_hash)
        with ThreadPoolExecutor(_READERS, "scan") as pool:
            return [entry for entries in pool.map(look, location.parts) for entry in entries]

    def generate(self, missing: Iterable[Missing], on_records: OnRecords, progress: Progress) -> None:
        """Asks what is missing.

        Raises:
            UserError: the endpoint refuses all questions.
            RunFailedError: it answers nothing, or the tokens of this call are used up.
        """
        unanswered: list[ReplyRecord] = []
        work = [*missing]  # all is scanned first: replies that come must not wait to be stored
        try:
            with self._endpoint:
                for item, answer in as_answered(self._ask, self._items(work), self._config.concurrency):
                    record = self._record(item, answer)
                    if isinstance(answer, UnansweredError):  # the fault of the item, or of the endpoint?
                        unanswered.append(record)
                        self._check_fruit(unanswered)
                        continue
                    if isinstance(answer, Completion):
                        on_records(unanswered)
                        unanswered = []
                    on_records([record])
                    progress.note(self._state())
        finally:
            self._stop.set()
        if unanswered:
            on_records(unanswered)
        if self._is_short:
            raise RunFailedError(
                f"endpoint.max_total_tokens = {self._config.max_total_tokens:,} are used up: {self._state()}. The same "
                "command goes on"
            )

    def _items(self, missing: Iterable[Missing]) -> Iterator[_Item]:
        """The items, read part by part, until the tokens are used up."""
        for one in missing:
            for part, asked in one.by_part():
                entries = {entry.row: entry for entry in asked}
                for row, doc in read(one.location, part, rows=frozenset(entries)):
                    if 0 < self._config.max_total_tokens <= self._usage.total:
                        self._is_short = True
                        return
                    yield _Item(one.location, entries.pop(row), doc)
                for entry in entries.values():
                    yield _Item(one.location, entry, None)

    def _ask(self, item: _Item) -> Completion:
        """In a thread of its own."""
        if item.entry.error:
            raise BadDataError("broken record", item.entry.error)
        if item.doc is None:
            raise BadDataError("broken record", f"row {item.entry.row} is no longer in {item.location.where}")
        benchmark = item.location.benchmark
        message = message_of(benchmark.prompt(item.doc), images_of(item.location, item.doc))
        tokens = self._reply_tokens(benchmark.max_new_tokens) + self._config.reasoning_tokens
        return self._endpoint.complete([message], tokens, 0.0)

    def _record(self, item: _Item, answer: Completion | Exception) -> ReplyRecord:
        """The record of an item.

        Raises:
            UserError: the endpoint refuses all questions.
        """
        benchmark = item.location.benchmark
        record = partial(recorded, benchmark, item.entry, model_hash=self.model_hash)
        if isinstance(answer, UserError):
            raise answer
        if isinstance(answer, Exception):
            reason = str(answer) if isinstance(answer, UnansweredError) else one_line(answer)
            attempts = answer.attempts if isinstance(answer, UnansweredError) else 1
            return record(decoded=self.decoding(benchmark.max_new_tokens), error=reason, attempts=attempts)
        self._usage += answer.usage
        fault = _fault(answer)
        temperature = "temperature 0" if "temperature" in answer.decoding else "the endpoint's temperature"
        return record(
            decoded=self._decoding(benchmark.max_new_tokens, temperature),
            error=fault,
            reply="" if fault else answer.text.strip(),
            finish="length" if answer.cut else "stop",
            attempts=answer.attempts,
            prompt_tokens=answer.usage.prompt,
            reply_tokens=answer.usage.reply,
            seconds=answer.seconds,
            served=Served(
                model=answer.model,
                fingerprint=answer.fingerprint,
                date=f"{datetime.now(UTC):%Y-%m-%d}",
                cached_tokens=answer.usage.cached,
                reasoning_tokens=answer.usage.reasoning,
            ),
        )

    def _reply_tokens(self, max_new_tokens: int) -> int:
        return min(max_new_tokens, self._config.max_reply_tokens or max_new_tokens)

    def _decoding(self, max_new_tokens: int, temperature: str) -> str:
        most, more = self._config.max_reply_tokens, self._config.reasoning_tokens
        limits = (f", {most:,} at most" if most else "") + (f", {more:,} more to reason" if more else "")
        return f"{temperature}, {self._reply_tokens(max_new_tokens)} tokens{limits}, API"

    def _check_fruit(self, unanswered: list[ReplyRecord]) -> None:
        if len(unanswered) > FRUITLESS:
            raise RunFailedError(
                f"the model {self._name!r} at {self._config.base_url} left {len(unanswered)} items one after the other "
                f"unanswered; the last one: {unanswered[-1].error}. Once it answers, the same command goes on"
            )

    def _state(self) -> str:
        """What this call has used."""
        cost = self._usage.cost(self._config)
        return f"{self._usage}" + ("" if cost is None else f", {cost:,.4f} at the prices given")


def _fault(answer: Completion) -> str:
    """Why an answer is no reply; empty for one that is."""
    text = answer.text.strip()
    if answer.refusal and not text:
        return f"refused: {answer.refusal}"
    if answer.finish not in ("stop", "length", None):
        return f"ended by {answer.finish}"
    if answer.cut and not text:
        return (
            f"no reply within {answer.usage.reply:,} tokens, {answer.usage.reasoning:,} of them reasoning: allow more "
            "by endpoint.reasoning_tokens"
        )
    return ""
