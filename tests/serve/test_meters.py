"""What is counted of requests, by Ray's own metrics."""

from cli_ray.inference.engine import Answer
from cli_ray.serve.app import Meters


def test_an_empty_reply_is_counted_and_fails_nothing() -> None:
    Meters().tokens([Answer(text="", finish="stop", prompt_tokens=5, reply_tokens=0, injected=None)])
