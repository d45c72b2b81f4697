"""The client that opens artifacts in this process, without a server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from artifacts import Artifact
from serving.client.chunks import Rows, Source
from serving.client.predictor import Chunked
from serving.inference import results
from serving.inference.models import Models, ServedModel
from serving.inspection import looks
from serving.inspection.neighbours import nearest
from serving.inspection.recent_answers import no_answers
from serving.pictures.decode import read_pictures
from serving.schemas import Classification, Drift, Inspection, ModelInfo, Neighbours

Answer = TypeVar("Answer")


class LocalPredictor(Chunked):
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
        return results.classify(model, read_pictures(chunk, model.manifest.input), top)

    def _features(self, name: str, chunk: list[Source]) -> Rows:
        model = self._model(name)
        return results.features(model, read_pictures(chunk, model.manifest.input))

    def _inspect(self, name: str, chunk: list[Source]) -> Inspection:
        model = self._model(name)
        return looks.inspect(model, read_pictures(chunk, model.manifest.input))

    def _neighbours(self, name: str, chunk: list[Source], top: int) -> Neighbours:
        return nearest(self._model(name), self._features(name, chunk), top)

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """As `Predictor.feature_map`."""
        model = self._model(name)
        pictures = read_pictures([picture], model.manifest.input)
        return looks.feature_map(model, pictures, layer)

    def drift(self, name: str) -> Drift:
        """As `Predictor.drift`; a model in process has a reference, and no last answers."""
        return no_answers(self._model(name))
