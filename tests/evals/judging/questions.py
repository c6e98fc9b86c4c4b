"""Questions for a made-up judge, and answers to them, for the tests of judging."""

from pathlib import Path
from typing import Any

from cli_ray.config.evaluation import JudgeConfig
from cli_ray.evals.judging.verdicts import Question, Verdicts
from cli_ray.storage.folder import Folder
from tests.evals.endpoint.chat_server import Answer

KEY = "sk-very-secret-0123"
LLAVA = {"question_id": 1, "question": "What is it?", "gpt_answer": "a dog", "caption": "a dog", "category": "conv"}


def a_question(number: int, temperature: float = 0.0) -> Question:
    """A question that `good` answers."""
    messages = ({"role": "user", "content": f"question {number}"},)
    return Question(f"set/{number}", messages, 16, temperature, lambda answer: answer.startswith("answer"))


def good(body: dict[str, Any], number: int) -> Answer:
    """Answers by the question."""
    return 200, body["messages"][0]["content"].replace("question", "answer"), {}


def a_config(url: str, **settings: Any) -> JudgeConfig:
    """A judge with few tries."""
    return JudgeConfig.model_validate({"model": "grader", "base_url": url, "concurrency": 4, "attempts": 3} | settings)


def kept(path: Path) -> Verdicts:
    """The verdicts of a folder."""
    return Verdicts(Folder(str(path)), "grader")
