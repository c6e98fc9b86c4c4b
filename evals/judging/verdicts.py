"""What judges answered, kept so that no question is paid for twice.

The judge stage adds to a `Verdicts` and asks only what it has not; the scorer looks verdicts up in it.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from cli_ray.evals.benchmark import Judge, Messages
from cli_ray.evals.records import digest
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import read_journal

FOLDER = "judge"
"""Below the folder of an evaluation."""

_FLUSH = 50
"""Verdicts an object store may lose: it takes whole files only, so they are written together."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked about one reply."""

    item: str
    """Benchmark and sample, such as `mm-vet/v1_7`."""
    messages: Messages
    max_tokens: int
    temperature: float
    readable: Callable[[str], bool]
    """Whether a whole answer says anything; without that it is nonsense."""
    verdict_first: bool = False
    """Whether the verdict is on the first line."""

    def is_read_from(self, answer: str, *, cut: bool) -> bool:
        """Whether an answer holds a verdict: of one that is cut only whole lines may, if the verdict comes first."""
        if not cut:
            return self.readable(answer)
        return self.verdict_first and self.readable(answer.rpartition("\n")[0])


class Verdicts:
    """The answers of one judge, from and to JSON lines in `judge/` of a folder.

    On a mounted filesystem each answer is appended to `verdicts.jsonl` at once; elsewhere each session writes a file
    of its own. A line that was cut off counts for nothing.
    """

    def __init__(self, folder: Folder, model: str) -> None:
        self.folder = folder
        self.model = model
        self._file = f"{FOLDER}/verdicts{'' if folder.is_local else f'-{uuid4().hex}'}.jsonl"
        self._answers: dict[str, str] = {}
        self._drawn: dict[str, set[str]] = {}
        self._lines: list[str] = []
        self._written = 0
        for name in folder.names(FOLDER):
            if name.startswith("verdicts") and name.endswith(".jsonl"):
                self._load(f"{FOLDER}/{name}")

    def _load(self, name: str) -> None:
        for row in read_journal(self.folder, name):
            with suppress(KeyError, TypeError, AttributeError):
                known = row["key"] in self._answers
                if row["answer"].strip() and not row.get("cut") and not (known and row.get("nonsense")):
                    self._keep(row["key"], row["answer"], row["item"], row.get("decoding", {}))

    def key(self, messages: Messages, max_tokens: int, temperature: float) -> str:
        """Of all that an answer depends on: the judge, the question and how the answer is drawn."""
        question = json.dumps([dict(message) for message in messages], sort_keys=True)
        return digest(self.model, question, str(max_tokens), repr(float(temperature)))

    def find(self, question: Question) -> str | None:
        """The answer to a question; None if it has none yet that can be read."""
        answer = self._answers.get(self.key(question.messages, question.max_tokens, question.temperature))
        return answer if answer is not None and question.readable(answer) else None

    def add(self, question: Question, answer: str, decoding: Mapping[str, Any], *, cut: bool = False) -> bool:
        """Keeps an answer, but for an empty one.

        Args:
            decoding: how it was drawn.
            cut: whether its end is missing.

        Returns:
            Whether it can be read. Otherwise it is kept for people to look at, and its question is asked again.
        """
        key = self.key(question.messages, question.max_tokens, question.temperature)
        readable = question.is_read_from(answer, cut=cut)
        row = {"key": key, "judge": self.model, "item": question.item, "answer": answer, "decoding": dict(decoding)}
        if readable or not cut:
            self._keep(key, answer, question.item, decoding)
        if answer.strip():
            marks = {"nonsense": not readable, "cut": cut and not readable}
            self._lines.append(json.dumps(row | {name: True for name, holds in marks.items() if holds}))
        if self.folder.is_local or len(self._lines) - self._written >= _FLUSH:
            self.flush()
        return readable

    def flush(self) -> None:
        """Writes what is not written yet."""
        if self.folder.is_local:
            self.folder.append(self._file, self._lines)
            self._lines.clear()
        elif len(self._lines) > self._written:
            self.folder.write(self._file, "".join(f"{line}\n" for line in self._lines))
            self._written = len(self._lines)

    def drawn(self, benchmark: str) -> str:
        """How the answers about a benchmark were drawn, such as `temperature 0`; empty where none says."""
        return " or ".join(sorted(self._drawn.get(benchmark, ())))

    @property
    def place(self) -> str:
        """Where people find the answers."""
        return f"{self.folder.uri}/{self._file}"

    def _keep(self, key: str, answer: str, item: str, decoding: Mapping[str, Any]) -> None:
        self._answers[key] = answer
        if decoding:
            drawn = f"temperature {decoding['temperature']:g}" if "temperature" in decoding else "default temperature"
            self._drawn.setdefault(item.partition("/")[0], set()).add(drawn)

    def lookup(self, judge: Judge) -> Callable[[Messages], str | None]:
        """The answers to a benchmark's questions, as `cli_ray.evals.score` asks for them: None where there is none."""
        return lambda messages: self._answers.get(self.key(messages, judge.max_tokens, judge.temperature))
