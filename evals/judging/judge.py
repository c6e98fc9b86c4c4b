"""The judge stage: replies that rules cannot score are put to a language model. It runs apart and may be repeated."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from pydantic import SecretStr

from cli_ray.config.evaluation import JudgeConfig
from cli_ray.errors import UserError
from evals.benchmark import Benchmark, Doc, Reply
from evals.judging.endpoint import Endpoint, UnansweredError
from evals.judging.verdicts import Question, Verdicts
from evals.record import digest

__all__ = ["KEY_VARIABLE", "Question", "Tally", "Verdicts", "ask_all", "prompt_hash", "question_about"]

KEY_VARIABLE = "CLI_RAY_JUDGE_API_KEY"
"""The environment variable that holds the key of the endpoint; without it none is sent."""


@dataclass
class Tally:
    """How the questions of a judge stage went; each is counted in one of the first four."""

    known: int = 0
    """Answered before."""
    answered: int = 0
    """Answered now, in a way that can be read."""
    nonsense: int = 0
    """Answered now, in a way that cannot be read."""
    failed: int = 0
    """Not answered; the same call again asks them again."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why questions failed, and how many."""


def question_about(benchmark: Benchmark, doc: Doc, sample_id: str, reply: Reply) -> Question | None:
    """What the judge of a benchmark is to be asked about a reply; None where rules decide or there is no reply."""
    judge, text = benchmark.judge, reply.text.strip()
    messages = judge.prompt(doc, text) if judge and reply.finish != "error" else None
    if judge is None or messages is None:
        return None
    return Question(
        f"{benchmark.name}/{sample_id}",
        messages,
        judge.max_tokens,
        judge.temperature,
        lambda answer: judge.read(doc, text, answer) is not None,
    )


def prompt_hash(benchmark: Benchmark) -> str:
    """Hash of what a benchmark's judge is told, with the column names in place of an item; empty without a judge."""
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

    A judge that has answered nothing while as many questions failed as may be in flight is given up: the others count
    as failed, too.

    Args:
        progress: told after each question.

    Raises:
        UserError: no judge is named, or it refuses every question (wrong key, model or address).
    """
    if not config.model:
        raise UserError("no judge is named: set judge.model (and judge.base_url)")
    tally = Tally()
    missing: dict[str, Question] = {}
    for one in questions:
        if verdicts.find(one) is None:
            missing.setdefault(verdicts.key(one.messages, one.max_tokens, one.temperature), one)
        else:
            tally.known += 1
    stop = threading.Event()
    key = SecretStr(os.environ.get(KEY_VARIABLE, "").strip())
    with Endpoint(config, key, KEY_VARIABLE, stop) as endpoint:
        pool = ThreadPoolExecutor(config.concurrency, "judge")
        try:
            asked = {pool.submit(_ask, endpoint, one, config.attempts): one for one in missing.values()}
            for future in as_completed(asked):
                _count(tally, asked[future], future.result, verdicts)
                if tally.failed >= config.concurrency and not tally.answered + tally.nonsense:
                    stop.set()
                if progress:
                    progress(tally)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            verdicts.flush()
    return tally


def _ask(endpoint: Endpoint, question: Question, attempts: int) -> str:
    """The answer of the judge; nonsense is asked for again where another answer may come."""
    answer = ""
    for _ in range(attempts if question.temperature > 0 else 1):
        answer = endpoint.answer(question)
        if question.readable(answer):
            break
    return answer


def _count(tally: Tally, question: Question, result: Callable[[], str], verdicts: Verdicts) -> None:
    try:
        answer = result()
    except UnansweredError as error:
        tally.failed += 1
        tally.reasons[str(error)] += 1
        return
    verdicts.add(question, answer)
    if question.readable(answer):
        tally.answered += 1
    else:
        tally.nonsense += 1
