"""The predictor that opens artifacts in this process, without a server."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from artifacts import Artifact
from artifacts.pictures import Picture
from serving.client.chunks import Rows, Source, ask_each, chunks, join, join_each, merge
from serving.inference import results
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.inspection import explanations, looks
from serving.inspection.indexes import Indexes
from serving.inspection.neighbours import nearest, searched
from serving.inspection.recent_answers import no_answers
from serving.pictures.decode import read_pictures
from serving.problems import RequestError
from serving.schemas import (
    Classification,
    ClassifiedPicture,
    Drift,
    EachClassification,
    Explanation,
    Inspection,
    ModelInfo,
    Neighbours,
    RefusedPicture,
)


class LocalPredictor:
    """Opens artifacts in this process and answers with the code of the server's handlers.

    Its methods are those of `Predictor`.

    Args:
        root: folder of the artifacts; `artifacts_root()` by default.
        threads: of each model, within one call; 0 uses one per core.
    """

    def __init__(self, root: Path | None = None, threads: int = 0) -> None:
        self.root, self.threads = root, threads
        self._opened: dict[str, ServedModel] = {}

    def models(self) -> list[ModelInfo]:
        """See `Predictor.models`."""
        return list(Models.load(self.root).list().models)

    def model_info(self, name: str) -> ModelInfo:
        """See `Predictor.model_info`."""
        return self._model(name).info

    def classify(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Classification:
        """See `Predictor.classify`."""
        model = self._model(name)

        def ask(chunk: list[Source]) -> Classification:
            decoded = read_pictures(chunk, model.manifest.input)
            return results.classify(model, decoded, top, keep, coverage)

        return join(ask_each(ask, pictures))

    def classify_each(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> EachClassification:
        """See `Predictor.classify_each`."""
        model = self._model(name)

        def ask(chunk: list[Source]) -> EachClassification:
            decoded, refused = _decode_each(model, chunk)
            about: dict[str, Any] = {"model": model.stamp, "provider": model.runtime.provider}
            answered: Iterator[ClassifiedPicture] = iter(())
            if decoded:
                answer = results.classify(model, decoded, top, keep, coverage)
                about |= {"task": answer.task, "verdicts": answer.verdicts}
                answered = iter(answer.pictures)
            entries = tuple(refused.get(i) or next(answered) for i in range(len(chunk)))
            return EachClassification(**about, pictures=entries)

        return join_each([ask(chunk) for _, chunk in chunks(pictures)])

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """See `Predictor.features`."""
        model = self._model(name)
        return np.concatenate(ask_each(lambda chunk: _features(model, chunk), pictures))

    def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """See `Predictor.inspect`."""
        model = self._model(name)

        def ask(chunk: list[Source]) -> Inspection:
            return looks.inspect(model, read_pictures(chunk, model.manifest.input))

        return merge(ask_each(ask, pictures))

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """See `Predictor.feature_map`."""
        model = self._model(name)
        return looks.feature_map(model, read_pictures([picture], model.manifest.input), layer)

    def explain(self, name: str, picture: Source, label: str | None = None) -> Explanation:
        """See `Predictor.explain`."""
        model = self._model(name)
        (decoded,) = read_pictures([picture], model.manifest.input)
        return explanations.explain(model, decoded, label)

    def drift(self, name: str) -> Drift:
        """See `Predictor.drift`; there is a reference, but there are no recent answers."""
        return no_answers(self._model(name))

    def neighbours(
        self, name: str, pictures: Sequence[Source], top: int = 8, index: str | None = None
    ) -> Neighbours:
        """See `Client.neighbours`."""
        model = self._model(name)
        where = searched(model, Indexes.load({model.name: model}, self.root), index)

        def ask(chunk: list[Source]) -> Neighbours:
            return nearest(model, where, _features(model, chunk), top)

        return join(ask_each(ask, pictures))

    def _model(self, name: str) -> ServedModel:
        if name not in self._opened:
            self._opened[name] = ServedModel(Artifact.open(name, self.root), self.threads)
        return self._opened[name]


def _decode_each(
    model: ServedModel, pictures: list[Source]
) -> tuple[list[Picture], dict[int, RefusedPicture]]:
    """Return the pictures that can be decoded, and the problems of the others by index."""
    decoded: list[Picture] = []
    refused = {}
    for index, picture in enumerate(pictures):
        try:
            decoded += read_pictures([picture], model.manifest.input)
        except RequestError as error:
            refused[index] = RefusedPicture.of(error.content())
    return decoded, refused


def _features(model: ServedModel, pictures: list[Source]) -> Rows:
    return results.features(model, read_pictures(pictures, model.manifest.input))
