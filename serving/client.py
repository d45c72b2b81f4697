"""The typed client: ask a running server, or open an artifact in process; same answers.

predictor = connect("http://127.0.0.1:3000")  # connect(None) opens artifacts in process
answer = predictor.classify("cifar10-gap", [Path("frog.png").read_bytes()])
print(answer.pictures[0].top[0].label)
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from artifacts import Artifact
from serving import operations
from serving.atlas import neighbours
from serving.chunks import Rows, Source, chunks, join, merge, picture_form, placed
from serving.connection import Connection
from serving.drift import no_answers
from serving.models import Models, ServedModel
from serving.pictures import read_pictures
from serving.schemas import (
    Classification,
    Drift,
    Inspection,
    ModelInfo,
    ModelList,
    Neighbours,
)

Answer = TypeVar("Answer")


class Predictor(Protocol):
    """What can be asked, wherever the model runs. All pictures may differ in size.

    Every method raises a `VitrineError` (one line) where the question cannot be answered:
    `RequestError` for a model or picture that is refused.
    """

    def models(self) -> list[ModelInfo]:
        """The models that can be asked."""

    def model_info(self, name: str) -> ModelInfo:
        """What is known about one model."""

    def classify(self, name: str, pictures: Sequence[Source], top: int = 5) -> Classification:
        """The `top` most probable classes of each picture."""

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """What the head of the network sees: float32 N x D."""

    def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """Shares of exact zeros after each activation, over all pictures."""

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """What one activation gives for one picture: float32 C x H x W."""

    def drift(self, name: str) -> Drift:
        """How far a server's last answers lie from the model's reference, with the moments."""


class _Chunked(ABC):
    """Splits long sequences of pictures into requests of bounded size, and joins the answers."""

    def classify(self, name: str, pictures: Sequence[Source], top: int = 5) -> Classification:
        """As `Predictor.classify`."""
        return join(self._each(lambda chunk: self._classify(name, chunk, top), pictures))

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """As `Predictor.features`."""
        return np.concatenate(self._each(lambda chunk: self._features(name, chunk), pictures))

    def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """As `Predictor.inspect`."""
        return merge(self._each(lambda chunk: self._inspect(name, chunk), pictures))

    def neighbours(self, name: str, pictures: Sequence[Source], top: int = 8) -> Neighbours:
        """The `top` nearest pictures of the model's atlas to each picture, and its place there."""
        return join(self._each(lambda chunk: self._neighbours(name, chunk, top), pictures))

    def _each(
        self, ask: Callable[[list[Source]], Answer], pictures: Sequence[Source]
    ) -> list[Answer]:
        """Ask for each chunk; a refusal names the picture by its place in the whole sequence."""

        def ask_from(start_and_chunk: tuple[int, list[Source]]) -> Answer:
            start, chunk = start_and_chunk
            with placed(start, len(chunk)):
                return ask(chunk)

        return list(self._map(ask_from, chunks(pictures)))

    @abstractmethod
    def _map(
        self, ask: Callable[[tuple[int, list[Source]]], Answer], chunks: Iterator[Any]
    ) -> Iterator[Answer]:
        """Apply `ask` to the chunks, in order."""

    @abstractmethod
    def _classify(self, name: str, chunk: list[Source], top: int) -> Classification: ...

    @abstractmethod
    def _features(self, name: str, chunk: list[Source]) -> Rows: ...

    @abstractmethod
    def _inspect(self, name: str, chunk: list[Source]) -> Inspection: ...

    @abstractmethod
    def _neighbours(self, name: str, chunk: list[Source], top: int) -> Neighbours: ...


class Client(_Chunked):
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


class LocalPredictor(_Chunked):
    """Opens artifacts in process, through the code the server's handlers call.

    Args:
        root: folder of the artifacts; `artifacts_root()` by default.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self._opened: dict[str, ServedModel] = {}

    def models(self) -> list[ModelInfo]:
        """As `Predictor.models`."""
        return list(Models.load(self.root).list().models)

    def model_info(self, name: str) -> ModelInfo:
        """As `Predictor.model_info`."""
        return self._model(name).info

    def _model(self, name: str) -> ServedModel:
        if name not in self._opened:
            self._opened[name] = ServedModel(Artifact.open(name, self.root))
        return self._opened[name]

    def _map(
        self, ask: Callable[[tuple[int, list[Source]]], Answer], chunks: Iterator[Any]
    ) -> Iterator[Answer]:
        return map(ask, chunks)

    def _classify(self, name: str, chunk: list[Source], top: int) -> Classification:
        model = self._model(name)
        return operations.classify(model, read_pictures(chunk, model.manifest.input), top)

    def _features(self, name: str, chunk: list[Source]) -> Rows:
        model = self._model(name)
        return operations.features(model, read_pictures(chunk, model.manifest.input))

    def _inspect(self, name: str, chunk: list[Source]) -> Inspection:
        model = self._model(name)
        return operations.inspect(model, read_pictures(chunk, model.manifest.input))

    def _neighbours(self, name: str, chunk: list[Source], top: int) -> Neighbours:
        return neighbours(self._model(name), self._features(name, chunk), top)

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """As `Predictor.feature_map`."""
        model = self._model(name)
        pictures = read_pictures([picture], model.manifest.input)
        return operations.feature_map(model, pictures, layer)

    def drift(self, name: str) -> Drift:
        """As `Predictor.drift`; a model in process has a reference, and no last answers."""
        return no_answers(self._model(name))


def model_path(name: str) -> str:
    """The address of a model."""
    return f"/v1/models/{quote(name, safe='')}"


def array_of(response: httpx.Response) -> Rows:
    """The array that a .npy answer holds."""
    array: Rows = np.load(io.BytesIO(response.content), allow_pickle=False)
    return array


def connect(url: str | None = None, key: str | None = None) -> Predictor:
    """The server at `url`, with an API key if it asks for one, or this machine's artifacts."""
    return LocalPredictor() if url is None else Client(url, key)
