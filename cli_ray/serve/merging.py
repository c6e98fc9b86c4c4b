"""Several replies as one stream, so that the choices of a request are generated side by side. `api` calls it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merged(streams: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[tuple[int, T]]:
    """What all streams bring, as it comes, with the number of its stream. Closing it closes them all.

    Raises:
        Exception: that of the first stream that fails; the others are closed.
    """
    found: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()

    async def drain(index: int, stream: AsyncGenerator[T]) -> None:
        end = None
        try:
            async with aclosing(stream):
                async for item in stream:
                    found.put_nowait((index, item))
        except Exception as error:
            end = error
        found.put_nowait(end)

    tasks = [asyncio.create_task(drain(index, stream)) for index, stream in enumerate(streams)]
    try:
        for _ in tasks:
            while (item := await found.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
