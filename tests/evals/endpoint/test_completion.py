"""Answers are read out of whatever an endpoint sends."""

from typing import Any

import pytest

from cli_ray.config import ModelEndpointConfig
from cli_ray.evals.endpoint.completion import completion_of
from cli_ray.evals.endpoint.usage import Usage


def body_of(message: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"}]} | more


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "yes"}, "yes"),
        ({"content": None, "reasoning_content": "it is red"}, ""),
        ({"content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "a "}, {"text": "b"}]}, "a b"),
        ({}, ""),
        ({"content": "né 答案 \ud83d"}, "né 答案 ?"),
    ],
)
def test_a_reply_is_its_text_without_reasoning(message: dict[str, Any], text: str) -> None:
    assert completion_of(body_of(message)).text == text


@pytest.mark.parametrize(
    "body", [None, [], {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": {"content": ["x"]}}]}, "text"]
)
def test_a_body_without_an_answer_is_none(body: Any) -> None:
    with pytest.raises(ValueError, match="no answer"):
        completion_of(body)


def test_names_are_short_and_steer_no_terminal() -> None:
    answer = completion_of(body_of({"content": "a", "refusal": "no\n\nway"}, model="\x1b[2Jm" + "x" * 1000))
    assert answer.model.startswith("\\x1b[2Jmx")
    assert (len(answer.model), answer.refusal) == (200, "no way")


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, Usage()),
        ("many", Usage()),
        ({"prompt_tokens": -3, "completion_tokens": "7"}, Usage()),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(9, 0, 2, 0)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(9, 4, 7, 5),
        ),
    ],
)
def test_tokens_are_counted_where_the_endpoint_says_them(usage: Any, counted: Usage) -> None:
    assert completion_of(body_of({"content": "a"}, usage=usage)).usage == counted


def test_cached_tokens_have_a_price_of_their_own() -> None:
    usage = Usage(prompt=3_000_000, cached=1_000_000, reply=500_000, reasoning=100_000)
    assert usage.cost(ModelEndpointConfig()) is None
    assert usage.cost(ModelEndpointConfig(price_prompt=2, price_reply=8)) == pytest.approx(6 + 4)
    assert usage.cost(ModelEndpointConfig(price_prompt=2, price_cached=0.5, price_reply=8)) == pytest.approx(4.5 + 4)
    assert str(usage) == "3,000,000 tokens of prompts (1,000,000 cached), 500,000 of replies (100,000 reasoning)"
