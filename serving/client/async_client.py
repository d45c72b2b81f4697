"""The client for programs that await: the same questions and answers as `serving.client.Client`.

async with AsyncClient("http://127.0.0.1:3000") as client:
    answer = await client.classify("cifar10-gap", [Path("frog.png").read_bytes()])
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

import httpx
import numpy as np

from serving.client.chunks import Rows, Source, chunks, join, merge, picture_form, placed
from serving.client.connection import AsyncConnection
from serving.client.face_client import BASE, face_options, pair_of
from serving.client.http_client import array_of, model_path
from serving.faces.schemas import Identified, Several, Verified
from serving.schemas import Classification, Inspection, ModelInfo, ModelList, Neighbours

Answer = TypeVar("Answer")


class AsyncClient:
    """Asks a running server.

    Pictures are encoded files, or uint8 H x W x 3 RGB arrays, of any mix of sizes. Every method
    raises a `VitrineError` (one line) where it gets no answer: `RequestError` for what is refused.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, where the server has keys.
        timeout: seconds to wait for one request.
        concurrency: requests under way at once.
    """

    def __init__(
        self, url: str, key: str | None = None, timeout: float = 60.0, concurrency: int = 4
    ) -> None:
        self._server = AsyncConnection(url, timeout, key)
        self._places = asyncio.Semaphore(concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self._server.close()

    async def models(self) -> list[ModelInfo]:
        """The models that can be asked."""
        response = await self._server.send("GET", "/v1/models")
        return list(self._server.parse(ModelList, response).models)

    async def model_info(self, name: str) -> ModelInfo:
        """What is known about one model."""
        return self._server.parse(ModelInfo, await self._server.send("GET", model_path(name)))

    async def classify(self, name: str, pictures: Sequence[Source], top: int = 5) -> Classification:
        """The `top` most probable classes of each picture."""

        async def ask(chunk: list[Source]) -> Classification:
            response = await self._post(f"{model_path(name)}/classify?top={top}", chunk)
            return self._server.parse(Classification, response)

        return join(await self._each(ask, pictures))

    async def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """What the head of the network sees: float32 N x D."""

        async def ask(chunk: list[Source]) -> Rows:
            path = f"{model_path(name)}/features"
            return array_of(await self._post(path, chunk, accept="application/x-npy"))

        return np.concatenate(await self._each(ask, pictures))

    async def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """Shares of exact zeros after each activation, over all pictures."""

        async def ask(chunk: list[Source]) -> Inspection:
            response = await self._post(f"{model_path(name)}/inspect", chunk)
            return self._server.parse(Inspection, response)

        return merge(await self._each(ask, pictures))

    async def neighbours(self, name: str, pictures: Sequence[Source], top: int = 8) -> Neighbours:
        """The `top` nearest pictures of the model's atlas to each picture, and its place there."""

        async def ask(chunk: list[Source]) -> Neighbours:
            response = await self._post(f"{model_path(name)}/neighbours?top={top}", chunk)
            return self._server.parse(Neighbours, response)

        return join(await self._each(ask, pictures))

    async def verify(
        self,
        first: Source,
        second: Source,
        *,
        aligned: bool = False,
        several: Several = "largest",
        fmr: float | None = None,
    ) -> Verified:
        """Whether two pictures show one person, at a target false-match rate of the model."""
        options = face_options(aligned=aligned, several=several, fmr=fmr)
        path, files = f"{BASE}/verify", pair_of(first, second)
        async with self._places:
            response = await self._server.send("POST", path, params=options, files=files)
        return self._server.parse(Verified, response)

    async def identify(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "largest",
        fmr: float | None = None,
        top: int = 5,
    ) -> Identified:
        """The people enrolled who are nearest to the face on each picture; in one request."""
        options = face_options(aligned=aligned, several=several, fmr=fmr, top=top)
        response = await self._post(f"{BASE}/identify", list(pictures), params=options)
        return self._server.parse(Identified, response)

    async def _each(
        self, ask: Callable[[list[Source]], Awaitable[Answer]], pictures: Sequence[Source]
    ) -> list[Answer]:
        """Ask for each chunk; a refusal names the picture by its place in the whole sequence."""

        async def ask_from(start: int, chunk: list[Source]) -> Answer:
            with placed(start, len(chunk)):
                return await ask(chunk)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask_from(*part)) for part in chunks(pictures)]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _post(
        self, path: str, chunk: list[Source], accept: str = "application/json", **options: Any
    ) -> httpx.Response:
        async with self._places:
            files, headers = picture_form(chunk), {"Accept": accept}
            return await self._server.send("POST", path, files=files, headers=headers, **options)
