"""Requests that come to a replica: how they are put together, and that none spoils or delays another."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.data.sample import Message
from cli_ray.inference.request import Answer, Request
from cli_ray.inference.sampling import Sampling
from cli_ray.serve.batcher import Batcher, EngineLostError, Refused, Said
from tests.serve.server import Echo


def request(text: str, tokens: int = 10) -> Request:
    return Request((Message("user", text),), (), Sampling(max_new_tokens=tokens))


def batcher(engine: Echo, **replica: Any) -> Batcher:
    return Batcher(engine, ReplicaConfig(gpus=0, **replica), 0.02, lambda size: None)


async def said(batches: Batcher, asked: Request, streams: bool = False) -> list[Said]:
    return [item async for item in batches.reply(asked, streams)]


def together(*replies: Coroutine[Any, Any, Any]) -> list[Any]:
    """What the replies bring that are asked for at once; an error stands in its place."""

    async def run() -> list[Any]:
        return await asyncio.gather(*replies, return_exceptions=True)

    return asyncio.run(run())


def texts(engine: Echo) -> list[list[str]]:
    return [[one.messages[-1].content for one in batch] for batch in engine.batches]


def test_requests_are_put_together_in_their_order_up_to_so_many() -> None:
    engine = Echo()
    batches = batcher(engine, batch_size=3)
    replies = together(*(said(batches, request(f"text {index}")) for index in range(7)))
    assert [reply[-1].text for reply in replies] == [f"text {index}" for index in range(7)]
    assert max(map(len, engine.batches)) == 3
    assert [text for batch in texts(engine) for text in batch] == [f"text {index}" for index in range(7)]


def test_a_batch_keeps_to_its_tokens_and_a_longer_request_still_runs() -> None:
    engine = Echo()
    batches = batcher(engine, batch_size=8, batch_tokens=25)
    together(*(said(batches, one) for one in (request("a"), request("b"), request("c"), request("d", 500))))
    assert max(map(len, engine.batches)) <= 2
    assert any(one == ["d"] for one in texts(engine))


def test_pieces_come_only_to_those_who_stream() -> None:
    batches = batcher(Echo(), batch_size=4)
    streamed, whole = together(said(batches, request("one two"), True), said(batches, request("three four")))
    assert streamed[:-1] == ["one", " two"]
    assert isinstance(streamed[-1], Answer)
    assert len(whole) == 1


def test_one_that_cannot_be_asked_or_fails_spoils_no_other() -> None:
    batches = batcher(Echo(), batch_size=4)
    long, failed, good = together(*(said(batches, request(text)) for text in ("x " * 1001, "fail", "good")))
    assert isinstance(long[0], Refused)
    assert "1001 tokens" in long[0].reason
    assert isinstance(failed, RuntimeError)
    assert good[-1].text == "good"


def test_a_caller_that_leaves_frees_its_row_and_takes_none_if_it_still_waits() -> None:
    engine = Echo()
    batches = batcher(engine, batch_size=1)
    engine.may_go_on.clear()

    async def leave() -> list[Said]:
        tasks = [asyncio.create_task(said(batches, request(text), True)) for text in ("running", "waiting")]
        while not engine.batches:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        engine.may_go_on.set()
        return await said(batches, request("after"))

    asyncio.run(leave())
    assert texts(engine) == [["running"], ["after"]]
    assert engine.cancelled == ["running"]


def test_an_engine_that_fails_as_a_whole_ends_all_that_wait_and_all_that_come() -> None:
    engine = Echo()
    engine.fault = RuntimeError("CUDA error: an illegal memory access")
    batches = batcher(engine, batch_size=1)
    assert all(isinstance(one, EngineLostError) for one in together(said(batches, request("x"))))
    with pytest.raises(EngineLostError, match="illegal memory"):
        asyncio.run(said(batches, request("y")))
    assert batches.fault is not None
