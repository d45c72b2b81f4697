"""The client that asks a running server and waits for the answer."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from serving.client.chunks import Rows, Source, picture_form
from serving.client.connection import Connection
from serving.client.predictor import Chunked
from serving.schemas import Classification, Drift, Inspection, ModelInfo, ModelList, Neighbours

Answer = TypeVar("Answer")


class Client(Chunked):
    """Asks a running server; one that is busy is asked again when it says so.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, where the server has keys.
        timeout: seconds to wait for one request.
        concurrency: requests under way at once.
    """

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
        """End the connections."""
        self._pool.shutdown()
        self._server.close()

    def models(self) -> list[ModelInfo]:
        """As `Predictor.models`."""
        return list(self._server.parse(ModelList, self._server.send("GET", "/v1/models")).models)

    def model_info(self, name: str) -> ModelInfo:
        """As `Predictor.model_info`."""
        return self._server.parse(ModelInfo, self._server.send("GET", model_path(name)))

    def _map(
        self, ask: Callable[[tuple[int, list[Source]]], Answer], chunks: Iterator[Any]
    ) -> Iterator[Answer]:
        return self._pool.map(ask, chunks)

    def _classify(self, name: str, chunk: list[Source], top: int) -> Classification:
        return self._server.parse(Classification, self._post(name, f"classify?top={top}", chunk))

    def _features(self, name: str, chunk: list[Source]) -> Rows:
        return array_of(self._post(name, "features", chunk, accept="application/x-npy"))

    def _inspect(self, name: str, chunk: list[Source]) -> Inspection:
        return self._server.parse(Inspection, self._post(name, "inspect", chunk))

    def _neighbours(self, name: str, chunk: list[Source], top: int) -> Neighbours:
        return self._server.parse(Neighbours, self._post(name, f"neighbours?top={top}", chunk))

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """As `Predictor.feature_map`."""
        return array_of(self._post(name, f"maps?layer={quote(layer, safe='')}", [picture]))

    def drift(self, name: str) -> Drift:
        """As `Predictor.drift`."""
        response = self._server.send("GET", f"{model_path(name)}/drift?moments=true")
        return self._server.parse(Drift, response)

    def _post(
        self, name: str, what: str, chunk: list[Source], accept: str = "application/json"
    ) -> httpx.Response:
        path, headers = f"{model_path(name)}/{what}", {"Accept": accept}
        return self._server.send("POST", path, files=picture_form(chunk), headers=headers)


def model_path(name: str) -> str:
    """The address of a model."""
    return f"/v1/models/{quote(name, safe='')}"


def array_of(response: httpx.Response) -> Rows:
    """The array that a .npy answer holds."""
    array: Rows = np.load(io.BytesIO(response.content), allow_pickle=False)
    return array
