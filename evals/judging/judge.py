"""The judge stage: replies that rules cannot score are put to a language model. It runs apart and may be repeated.

The scorer makes the questions with `question_about`, `cli_ray.evals.run` has them answered with `ask_all`.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cli_ray.config.evaluation import JudgeConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Doc, Profile, Reply
from cli_ray.evals.endpoint.client import Endpoint, UnansweredError
from cli_ray.evals.endpoint.completion import Completion
from cli_ray.evals.endpoint.crowd import as_answered
from cli_ray.evals.endpoint.role import Role
from cli_ray.evals.judging.verdicts import Question, Verdicts
from cli_ray.evals.records import digest
from cli_ray.evals.scoring.reasoning import without_reasoning

KEY_VARIABLE = "CLI_RAY_JUDGE_API_KEY"
"""The environment variable that holds the key of the endpoint; without it none is sent."""
JUDGE = Role("judge", "judge.base_url", "judge.model", KEY_VARIABLE)

ROOM = 8192
"""Tokens beyond its own that a question gets whose answer was cut: judges may reason before they answer."""

PAUSE_S = 10.0
"""Seconds between lines of progress at least."""

_REASONS_SHOWN = 3
_SHOWN = 200
"""Characters of an answer that is shown."""


@dataclass
class Tally:
    """How the questions of a judge stage went; each is known, or asked and then one of the next three."""

    asked: int = 0
    """To be asked now; all are at the end."""
    known: int = 0
    """Answered before."""
    answered: int = 0
    """Answered now, in a way that can be read."""
    nonsense: int = 0
    """Answered now, in a way that cannot be read; the same call again asks them again, too."""
    failed: int = 0
    """Not answered; the same call again asks them again."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why questions failed, and how many."""
    example: str = ""
    """An answer that cannot be read, and whose it is."""

    def __str__(self) -> str:
        """A sentence, such as `3 asked: 2 answered, 1 failed (status 500 x1); 12 known before`."""
        done = self.answered + self.nonsense + self.failed
        asked = f"{done:,}" if done == self.asked else f"{done:,} of {self.asked:,}"
        reasons = [f"{reason} x{count:,}" for reason, count in self.reasons.most_common(_REASONS_SHOWN)]
        more = len(self.reasons) - len(reasons)
        why = "; ".join(reasons + [f"{more} other reasons"] * bool(more))
        parts = [
            f"{self.answered:,} answered",
            f"{self.nonsense:,} in a way that cannot be read" if self.nonsense else "",
            f"{self.failed:,} failed ({why})" if self.failed else "",
        ]
        now = f"{asked} asked: {', '.join(filter(None, parts))}" if self.asked else "none asked"
        return f"{now}; {self.known:,} known before" if self.known else now


def question_about(
    benchmark: Benchmark, doc: Doc, sample_id: str, reply: Reply, profile: Profile = "lmms-eval/0.7.3"
) -> Question | None:
    """What the judge of a benchmark is to be asked about a reply; None where rules decide or there is no reply.

    Args:
        profile: by which the answer has to be readable.
    """
    judge, text = benchmark.judge, without_reasoning(reply.text)
    messages = judge.prompt(doc, text) if judge and reply.finish != "error" else None
    if judge is None or messages is None:
        return None
    return Question(
        f"{benchmark.name}/{sample_id}",
        messages,
        judge.max_tokens,
        judge.temperature,
        lambda answer: judge.reader(profile)(doc, text, answer) is not None,
        judge.verdict_first,
    )


def prompt_hash(benchmark: Benchmark) -> str:
    """Hash of what a benchmark's judge is asked, with the column names in place of an item; empty without a judge."""
    if benchmark.judge is None:
        return ""
    doc = {column: f"{{{column}}}" for column in benchmark.columns}
    messages = benchmark.judge.prompt(doc, "{reply}") or ()
    texts = [message[part] for message in messages for part in ("role", "content")]
    return digest(*texts, str(benchmark.judge.max_tokens), repr(float(benchmark.judge.temperature)))


def ask_all(
    config: JudgeConfig,
    questions: Iterable[Question],
    verdicts: Verdicts,
    progress: Callable[[Tally], None] | None = None,
) -> Tally:
    """Asks what has no verdict yet, and keeps each answer as it comes.

    A judge that has answered nothing while more questions failed than may be in flight is given up: the others count
    as failed, too.

    Args:
        progress: called after each question; `progress_lines()` when not given.

    Raises:
        UserError: no judge is named, or it refuses every question (wrong key, model or address).
    """
    if not config.model:
        raise UserError("no judge is named: set judge.model (and judge.base_url)")
    tally = Tally()
    missing: dict[str, Question] = {}
    for question in questions:
        if verdicts.find(question) is None:
            missing.setdefault(verdicts.key(question.messages, question.max_tokens, question.temperature), question)
        else:
            tally.known += 1
    tally.asked = len(missing)
    progress = progress or progress_lines()
    stop = threading.Event()
    with Endpoint(JUDGE, config.model, config, stop) as endpoint:

        def ask(question: Question) -> Completion:
            return _asked(endpoint, question, config.attempts)

        try:
            for question, answer in as_answered(ask, missing.values(), config.concurrency):
                _count(tally, question, answer, verdicts)
                if tally.failed > config.concurrency and not tally.answered + tally.nonsense:
                    stop.set()
                progress(tally)
        finally:
            stop.set()
            verdicts.flush()
    return tally


def progress_lines(pause_s: float = PAUSE_S, clock: Callable[[], float] = time.monotonic) -> Callable[[Tally], None]:
    """Progress in plain lines, the first after `pause_s` seconds; a short stage prints none.

    Args:
        pause_s: seconds between lines at least.
        clock: gives seconds.
    """
    last_s = clock()

    def show(tally: Tally) -> None:
        nonlocal last_s
        if clock() - last_s >= pause_s:
            last_s = clock()
            print(f"judge: {tally}", flush=True)

    return show


def _asked(endpoint: Endpoint, question: Question, attempts: int) -> Completion:
    """The answer of the judge; nonsense is asked for again where another answer may come."""
    answer = _answer(endpoint, question)
    for _ in range(attempts - 1):
        drawn = question.temperature > 0 or endpoint.draws
        if not drawn or question.is_read_from(answer.text, cut=answer.cut):
            break
        answer = _answer(endpoint, question)
    return answer


def _answer(endpoint: Endpoint, question: Question) -> Completion:
    """What the judge answers. One that is cut before its verdict is asked for once more, with room to reason.

    Raises:
        UnansweredError: it did not answer in as many tries as are allowed, or refused to.
        UserError: it refuses all questions.
    """
    answer = _complete(endpoint, question, question.max_tokens)
    if question.is_read_from(answer.text, cut=answer.cut) or not answer.cut:
        return answer
    return _complete(endpoint, question, question.max_tokens + ROOM)


def _complete(endpoint: Endpoint, question: Question, max_tokens: int) -> Completion:
    answer = endpoint.complete(question.messages, max_tokens, question.temperature)
    if answer.refusal and not answer.text:
        raise UnansweredError(f"refused: {answer.refusal}")
    return answer


def _count(tally: Tally, question: Question, answer: Completion | Exception, verdicts: Verdicts) -> None:
    if isinstance(answer, UnansweredError):
        tally.failed += 1
        tally.reasons[str(answer)] += 1
        return
    if isinstance(answer, Exception):
        raise answer
    if verdicts.add(question, answer.text, answer.decoding, cut=answer.cut):
        tally.answered += 1
        return
    tally.nonsense += 1
    if not tally.example:
        text = repr(answer.text[:_SHOWN] + "..." * (len(answer.text) > _SHOWN)) if answer.text.strip() else "nothing"
        tally.example = f"{text} about {question.item}{', cut at its longest' if answer.cut else ''}"
