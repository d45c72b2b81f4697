"""What can be asked of a model, wherever it runs, and the splitting of long questions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from serving.client.chunks import Rows, Source, chunks, join, merge, placed
from serving.schemas import Classification, Drift, Inspection, ModelInfo, Neighbours

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


class Chunked(ABC):
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
