"""The client of a running server, for programs that block; `sync_faces` has its calls on faces."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from serving.client import calls, feedback_calls
from serving.client.calls import ClassifiedEntry
from serving.client.chunks import Rows, Source, join, join_each, merge
from serving.client.sync_faces import FaceMethods
from serving.feedback.schemas import FeedbackEntry, FeedbackReceipt, FeedbackSummary, Verdict
from serving.schemas import (
    Atlas,
    Classification,
    Drift,
    EachClassification,
    EachNeighbours,
    Explanation,
    Inspection,
    ModelInfo,
    ModelList,
    Neighbours,
)


class Client(FaceMethods):
    """Sends requests to a running server and blocks until they are answered.

    Pictures are encoded files or uint8 H x W x 3 RGB arrays; those of one call may differ in size.
    While the server answers that it is busy, requests are repeated when it says. The methods about
    models and those that end in `_each` split long sequences of pictures into several requests; the
    others about faces send one.
    Every method raises a `VitrineError` with a message of one line if there is no answer; it is a
    `RequestError` if the server refuses the request.

    Options of the methods about faces:
        aligned: each picture is the aligned crop of one face; otherwise the face is found.
        several: what to do with a picture of several faces: use the main one, by size and closeness
            to the middle, or the largest, or refuse it (error), or, except when enrolling, answer
            for all of them.
        fmr: target false-match rate, one of those that the model has thresholds for.
        model: name of another embedding model than the server's default.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, if the server has keys.
        timeout: seconds to wait for a connection, and for each piece of a response.
        concurrency: maximum number of requests in flight for one long sequence of pictures.
    """

    def models(self) -> list[ModelInfo]:
        """The models that can be asked."""
        return list(self.model_list().models)

    def model_list(self) -> ModelList:
        """All models, the artifacts that could not be loaded, and the default model by route."""
        return self._ask(calls.models())

    def reload(self) -> ModelList:
        """Load new and changed artifacts on the server; it answers requests meanwhile."""
        return self._ask(calls.reload())

    def model_info(self, name: str) -> ModelInfo:
        """What is known about one model."""
        return self._ask(calls.model_info(name))

    def card(self, name: str) -> str:
        """The model card as Markdown: purpose, training data, quality and limits."""
        return self._ask(calls.card(name))

    def classify(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Classification:
        """The `top` most probable classes of each picture; see `Predictor.classify`."""
        return join(
            self._ask_each(lambda part: calls.classify(name, part, top, keep, coverage), pictures)
        )

    def classify_each(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> EachClassification:
        """The same, with an entry for each picture that is refused; see `Predictor`."""
        return join_each(
            self._ask_each(
                lambda part: calls.classify_each(name, part, top, keep, coverage), pictures
            )
        )

    def classify_archive(
        self,
        name: str,
        archive: Path,
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Iterator[ClassifiedEntry]:
        """The same for the pictures in a zip or tar, sent as one request and yielded in order.

        The answers arrive while the server works on the pictures that follow. Whoever ends the
        iteration early has the server stop, too.
        """
        call = calls.classify_archive(name, archive, top, keep, coverage)
        return self._server.ask_by_line(call, archive, calls.entry_of)

    def classify_by_route(
        self,
        route: str,
        pictures: Sequence[Source],
        top: int = 5,
        model: str | None = None,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Classification:
        """The same from the default model of a route, or from another `model` of that route."""
        return join(
            self._ask_each(
                lambda part: calls.classify_by_route(route, part, top, model, keep, coverage),
                pictures,
            )
        )

    def classify_each_by_route(
        self,
        route: str,
        pictures: Sequence[Source],
        top: int = 5,
        model: str | None = None,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> EachClassification:
        """The same, with an entry for each picture that is refused."""
        return join_each(
            self._ask_each(
                lambda part: calls.classify_each_by_route(route, part, top, model, keep, coverage),
                pictures,
            )
        )

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """The input of the network's head for each picture: float32 N x D."""
        rows = self._ask_each(lambda part: calls.features(name, part), pictures)
        return np.concatenate(rows)

    def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """The shares of exact zeros after each activation, over all pictures."""
        return merge(self._ask_each(lambda part: calls.inspect(name, part), pictures))

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """The output of one activation for one picture: float32 C x H x W."""
        return self._ask(calls.feature_map(name, picture, layer))

    def explain(self, name: str, picture: Source, label: str | None = None) -> Explanation:
        """Which parts of a picture speak for a class; for the most probable one by default."""
        return self._ask(calls.explain(name, picture, label))

    def explain_overlay(self, name: str, picture: Source, label: str | None = None) -> bytes:
        """The same as a PNG: the map, drawn over the picture."""
        return self._ask(calls.explain_overlay(name, picture, label))

    def drift(self, name: str) -> Drift:
        """The distance of the recent answers from the model's reference, with the moments."""
        return self._ask(calls.drift(name))

    def neighbours(
        self, name: str, pictures: Sequence[Source], top: int = 8, index: str | None = None
    ) -> Neighbours:
        """The `top` nearest pictures to each picture, in the model's atlas or in an `index` of it.

        Without `index`, it is the atlas, or the only index of a model without atlas.
        """
        return join(self._ask_each(lambda part: calls.neighbours(name, part, top, index), pictures))

    def neighbours_each(
        self, name: str, pictures: Sequence[Source], top: int = 8, index: str | None = None
    ) -> EachNeighbours:
        """The same, with an entry for each picture that is refused."""
        return join_each(
            self._ask_each(lambda part: calls.neighbours_each(name, part, top, index), pictures)
        )

    def atlas(self, name: str) -> Atlas:
        """The pictures of the model's atlas: classes, and positions on a map."""
        return self._ask(calls.atlas(name))

    def atlas_sheet(self, name: str) -> bytes:
        """A JPEG that shows all pictures of the atlas, row by row in its order."""
        return self._ask(calls.atlas_sheet(name))

    def give_feedback(
        self,
        answer: str,
        label: str | Sequence[str] | None = None,
        *,
        verdict: Verdict | None = None,
        picture: Source | None = None,
    ) -> FeedbackEntry:
        """Say what is right about an answer, in place of what was said before.

        Args:
            answer: the `id` of a picture in an answer of `classify`.
            label: the right class; several or none for a multi-label model.
            verdict: instead of a label, whether the answer is right or wrong.
            picture: the picture that was answered, if it is to be kept.
        """
        return self._ask(feedback_calls.give(answer, label, verdict, picture))

    def feedback_summary(self) -> FeedbackSummary:
        """Accuracy and calibration of each version of each model, by its feedback."""
        return self._ask(feedback_calls.summary())

    def feedback(self, answer: str) -> FeedbackEntry:
        """What is stored about an answer."""
        return self._ask(feedback_calls.entry(answer))

    def erase_feedback(self, answer: str) -> FeedbackReceipt:
        """Erase what is stored about an answer, with its picture."""
        return self._ask(feedback_calls.erase(answer))
