"""Both clients behind the same blocking calls, so that one test asks each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serving.client import AsyncClient, Client


class Awaited:
    """An `AsyncClient` whose methods block: coroutines are run, async iterators are collected."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner, self._client = runner, client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def blocking(*arguments: Any, **options: Any) -> Any:
            async def call() -> Any:
                answer = getattr(self._client, name)(*arguments, **options)
                if isinstance(answer, AsyncIterator):
                    return [entry async for entry in answer]
                return await answer

            return self._runner.run(call())

        return blocking


@contextmanager
def opened(kind: str, url: str) -> Iterator[Any]:
    """The client of a kind, `sync` or `async`."""
    if kind == "sync":
        with Client(url) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        client = AsyncClient(url)
        yield Awaited(runner, client)
        runner.run(client.close())
