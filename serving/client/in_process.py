"""The predictor that opens artifacts in this process, without a server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from artifacts import Artifact
from artifacts.preprocessing import Prepared
from serving.client.chunks import Rows, Source, ask_each, chunks, join, join_each, merge
from serving.inference import results
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.inspection import explanations, looks
from serving.inspection.indexes import Indexes
from serving.inspection.neighbours import name_of, nearest, searched
from serving.inspection.recent_answers import no_answers
from serving.pictures.decode import read_pictures, read_prepared
from serving.problems import RequestError
from serving.schemas import (
    Classification,
    ClassifiedPicture,
    Drift,
    EachClassification,
    EachNeighbours,
    Entry,
    Explanation,
    Inspection,
    ModelInfo,
    Neighbourhood,
    Neighbours,
    RefusedPicture,
)

Answered = TypeVar("Answered", bound=Entry)


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
            prepared = read_prepared(chunk, model.manifest.input)
            return results.classify(model, prepared, top, keep, coverage)

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
            about: dict[str, Any] = {"model": model.stamp, "provider": model.runtime.provider}

            def answer(prepared: list[Prepared]) -> Sequence[ClassifiedPicture]:
                given = results.classify(model, prepared, top, keep, coverage)
                about.update(task=given.task, verdicts=given.verdicts)
                return given.pictures

            pictures = _answer_each(model, chunk, answer)
            return EachClassification(**about, pictures=pictures)

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

    def neighbours_each(
        self, name: str, pictures: Sequence[Source], top: int = 8, index: str | None = None
    ) -> EachNeighbours:
        """See `Client.neighbours_each`."""
        model = self._model(name)
        where = searched(model, Indexes.load({model.name: model}, self.root), index)

        def answer(prepared: list[Prepared]) -> Sequence[Neighbourhood]:
            return nearest(model, where, results.features(model, prepared), top).pictures

        def ask(chunk: list[Source]) -> EachNeighbours:
            return EachNeighbours(
                model=model.stamp,
                provider=model.runtime.provider,
                index=name_of(where),
                pictures=_answer_each(model, chunk, answer),
            )

        return join_each([ask(chunk) for _, chunk in chunks(pictures)])

    def _model(self, name: str) -> ServedModel:
        if name not in self._opened:
            self._opened[name] = ServedModel(Artifact.open(name, self.root), self.threads)
        return self._opened[name]


def _answer_each(
    model: ServedModel,
    pictures: list[Source],
    answer: Callable[[list[Prepared]], Sequence[Answered]],
) -> tuple[Answered | RefusedPicture, ...]:
    """Answer the pictures that can be decoded; the others get the problem in their place."""
    prepared: list[Prepared] = []
    refused = {}
    for index, picture in enumerate(pictures):
        try:
            prepared += read_prepared([picture], model.manifest.input)
        except RequestError as error:
            refused[index] = RefusedPicture.of(error.content())
    answered = iter(answer(prepared) if prepared else ())
    return tuple(refused.get(i) or next(answered) for i in range(len(pictures)))


def _features(model: ServedModel, pictures: list[Source]) -> Rows:
    return results.features(model, read_prepared(pictures, model.manifest.input))
