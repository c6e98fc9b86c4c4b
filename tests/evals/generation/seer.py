"""A model behind an endpoint that answers from a table, and evaluations of it."""

from pathlib import Path
from typing import Any

from cli_ray.config import EvaluationConfig
from cli_ray.evals import miniature
from cli_ray.evals.records import ReplyRecord, Store
from cli_ray.evals.run import evaluate
from tests.evals.endpoint.chat_server import Answer, ChatServer

KEY = "sk-very-secret-0123"
NAMES = ("gqa", "mmmu-val", "pope")
ITEMS = sum(len(miniature.docs(name)) for name in NAMES)
"""Of all benchmarks in `NAMES`."""


def completion(text: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A body as OpenAI sends it."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text} | message, "finish_reason": finish}],
        "model": "seer-2026-11-20",
        "system_fingerprint": "fp_1",
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def text_of(body: dict[str, Any]) -> str:
    """The text of a question."""
    return "".join(part.get("text", "") for part in body["messages"][0]["content"])


def reply_to(text: str) -> str:
    """A reply that differs from question to question, with characters of several scripts."""
    return ("yes", "no", "B", "réponse \N{SNOWMAN} 答案")[len(text) % 4]


def seer(body: dict[str, Any], number: int) -> Answer:
    """Answers all."""
    return 200, completion(reply_to(text_of(body))), {}


def config_of(server: ChatServer, output: Path, **changes: Any) -> EvaluationConfig:
    """An evaluation through a server; `changes` may change its endpoint, too."""
    endpoint = {"base_url": server.url, "concurrency": 4, "attempts": 2} | changes.pop("endpoint", {})
    values = {"model": "openai:seer", "output": str(output), "benchmarks": NAMES, "miniature": True}
    return EvaluationConfig.model_validate(values | {"endpoint": endpoint} | changes)


def records_of(output: Path, name: str) -> list[ReplyRecord]:
    """What is stored of a benchmark."""
    return list(Store(str(output)).load(name).values())


def asked_once(server: ChatServer, output: Path, **changes: Any) -> ReplyRecord:
    """The record of the first item of GQA."""
    evaluate(config_of(server, output, benchmarks=("gqa",), limit=1, **changes), live=False)
    (record,) = records_of(output, "gqa")
    return record
