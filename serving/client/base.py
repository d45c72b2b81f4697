"""What the methods of the clients are made of: asking once, in chunks, and page by page."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from serving.client.calls import Call
from serving.client.chunks import Source, ask_each, chunks, picture_index_from
from serving.client.connection import AsyncConnection, Connection
from serving.client.face_calls import Page

Answer = TypeVar("Answer")


class BaseClient:
    """Sends the requests of a `Client`, whose arguments it has, and blocks until the answers."""

    def __init__(
        self, url: str, key: str | None = None, timeout: float = 60.0, concurrency: int = 4
    ) -> None:
        self._server = Connection(url, timeout, key)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="vitrine-client")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._server.close()

    def _ask(self, call: Call[Answer]) -> Answer:
        return self._server.ask(call)

    def _ask_each(
        self, describe: Callable[[list[Source]], Call[Answer]], pictures: Sequence[Source]
    ) -> list[Answer]:
        return ask_each(lambda part: self._ask(describe(part)), pictures, self._pool.map)

    def _pages(self, describe: Callable[[int], Call[Page[Answer]]]) -> Iterator[Answer]:
        after: int | None = 0
        while after is not None:
            page = self._ask(describe(after))
            yield from page.entries
            after = page.next


class AsyncBaseClient:
    """Sends the requests of an `AsyncClient`, whose arguments it has, and awaits the answers."""

    def __init__(
        self, url: str, key: str | None = None, timeout: float = 60.0, concurrency: int = 4
    ) -> None:
        self._server = AsyncConnection(url, timeout, key)
        self._slots = asyncio.Semaphore(concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def _ask(self, call: Call[Answer]) -> Answer:
        async with self._slots:
            return await self._server.ask(call)

    async def _ask_each(
        self, describe: Callable[[list[Source]], Call[Answer]], pictures: Sequence[Source]
    ) -> list[Answer]:
        async def ask(start: int, part: list[Source]) -> Answer:
            with picture_index_from(start, len(part)):
                async with self._slots:  # only requests in flight hold encoded pictures
                    return await self._server.ask(describe(part))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(*chunk)) for chunk in chunks(pictures)]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _pages(self, describe: Callable[[int], Call[Page[Answer]]]) -> AsyncIterator[Answer]:
        after: int | None = 0
        while after is not None:
            page = await self._ask(describe(after))
            for entry in page.entries:
                yield entry
            after = page.next
