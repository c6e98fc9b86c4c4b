"""What judges answered, kept so that no question is paid for twice."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from cli_ray.data.folder import Folder
from cli_ray.evals.benchmark import Judge, Messages
from cli_ray.evals.record import digest

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
    """Whether an answer says anything; without that it is nonsense."""


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
        self._lines: list[str] = []
        self._written = 0
        for name in folder.names(FOLDER):
            if name.startswith("verdicts") and name.endswith(".jsonl"):
                self._load(f"{FOLDER}/{name}")

    def _load(self, name: str) -> None:
        text = self.folder.read(name) or ""
        if name == self._file and text and not text.endswith("\n"):
            self.folder.append(name, [""])  # ends the line that was cut off, so that the next one is whole
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                self._answers[row["key"]] = row["answer"]

    def key(self, messages: Messages, max_tokens: int, temperature: float) -> str:
        """Of all that an answer depends on: the judge, the question and how the answer is drawn."""
        asked = json.dumps([dict(message) for message in messages], sort_keys=True)
        return digest(self.model, asked, str(max_tokens), repr(float(temperature)))

    def find(self, question: Question) -> str | None:
        """The answer to a question, nonsense included; None if it has none yet."""
        return self._answers.get(self.key(question.messages, question.max_tokens, question.temperature))

    def add(self, question: Question, answer: str) -> None:
        """Keeps an answer."""
        key = self.key(question.messages, question.max_tokens, question.temperature)
        self._answers[key] = answer
        row = {"key": key, "judge": self.model, "item": question.item, "answer": answer}
        self._lines.append(json.dumps(row if question.readable(answer) else row | {"nonsense": True}))
        if self.folder.is_local or len(self._lines) - self._written >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Writes what is not written yet."""
        if self.folder.is_local:
            self.folder.append(self._file, self._lines)
            self._lines.clear()
        elif len(self._lines) > self._written:
            self.folder.write(self._file, "".join(f"{line}\n" for line in self._lines))
            self._written = len(self._lines)

    def lookup(self, judge: Judge) -> Callable[[Messages], str | None]:
        """The answers to a benchmark's questions, as `cli_ray.evals.score` asks for them: None where there is none."""
        return lambda messages: self._answers.get(self.key(messages, judge.max_tokens, judge.temperature))
