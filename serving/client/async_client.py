"""The methods of `Client`, for programs that await; `async_faces` has the calls on faces."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np

from serving.client import calls, feedback_calls
from serving.client.async_faces import AsyncFaceMethods
from serving.client.calls import ClassifiedEntry
from serving.client.chunks import Rows, Source, join, join_each, merge
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


class AsyncClient(AsyncFaceMethods):
    """Sends requests to a running server and awaits the answers.

    Pictures, options, answers and errors are those of `Client`.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, if the server has keys.
        timeout: seconds to wait for a connection, and for each piece of a response.
        concurrency: maximum number of requests in flight.
    """

    async def models(self) -> list[ModelInfo]:
        """The models that can be asked."""
        return list((await self.model_list()).models)

    async def model_list(self) -> ModelList:
        """All models, the artifacts that could not be loaded, and the default model by route."""
        return await self._ask(calls.models())

    async def reload(self) -> ModelList:
        """Load new and changed artifacts on the server; it answers requests meanwhile."""
        return await self._ask(calls.reload())

    async def model_info(self, name: str) -> ModelInfo:
        """What is known about one model."""
        return await self._ask(calls.model_info(name))

    async def card(self, name: str) -> str:
        """The model card as Markdown: purpose, training data, quality and limits."""
        return await self._ask(calls.card(name))

    async def classify(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Classification:
        """The `top` most probable classes of each picture; see `Predictor.classify`."""
        return join(
            await self._ask_each(
                lambda part: calls.classify(name, part, top, keep, coverage), pictures
            )
        )

    async def classify_each(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> EachClassification:
        """The same, with an entry for each picture that is refused; see `Predictor`."""
        return join_each(
            await self._ask_each(
                lambda part: calls.classify_each(name, part, top, keep, coverage), pictures
            )
        )

    async def classify_archive(
        self,
        name: str,
        archive: Path,
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> AsyncIterator[ClassifiedEntry]:
        """The same for the pictures in a zip or tar; see `Client.classify_archive`."""
        call = calls.classify_archive(name, archive, top, keep, coverage)
        async with self._slots:
            async for entry in self._server.ask_by_line(call, archive, calls.entry_of):
                yield entry

    async def classify_by_route(
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
            await self._ask_each(
                lambda part: calls.classify_by_route(route, part, top, model, keep, coverage),
                pictures,
            )
        )

    async def classify_each_by_route(
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
            await self._ask_each(
                lambda part: calls.classify_each_by_route(route, part, top, model, keep, coverage),
                pictures,
            )
        )

    async def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """The input of the network's head for each picture: float32 N x D."""
        rows = await self._ask_each(lambda part: calls.features(name, part), pictures)
        return np.concatenate(rows)

    async def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """The shares of exact zeros after each activation, over all pictures."""
        return merge(await self._ask_each(lambda part: calls.inspect(name, part), pictures))

    async def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """The output of one activation for one picture: float32 C x H x W."""
        return await self._ask(calls.feature_map(name, picture, layer))

    async def explain(self, name: str, picture: Source, label: str | None = None) -> Explanation:
        """Which parts of a picture speak for a class; for the most probable one by default."""
        return await self._ask(calls.explain(name, picture, label))

    async def explain_overlay(self, name: str, picture: Source, label: str | None = None) -> bytes:
        """The same as a PNG: the map, drawn over the picture."""
        return await self._ask(calls.explain_overlay(name, picture, label))

    async def drift(self, name: str) -> Drift:
        """The distance of the recent answers from the model's reference, with the moments."""
        return await self._ask(calls.drift(name))

    async def neighbours(
        self, name: str, pictures: Sequence[Source], top: int = 8, index: str | None = None
    ) -> Neighbours:
        """The `top` nearest pictures to each picture, in the model's atlas or in an `index` of it.

        Without `index`, it is the atlas, or the only index of a model without atlas.
        """
        return join(
            await self._ask_each(lambda part: calls.neighbours(name, part, top, index), pictures)
        )

    async def neighbours_each(
        self, name: str, pictures: Sequence[Source], top: int = 8, index: str | None = None
    ) -> EachNeighbours:
        """The same, with an entry for each picture that is refused."""
        return join_each(
            await self._ask_each(
                lambda part: calls.neighbours_each(name, part, top, index), pictures
            )
        )

    async def atlas(self, name: str) -> Atlas:
        """The pictures of the model's atlas: classes, and positions on a map."""
        return await self._ask(calls.atlas(name))

    async def atlas_sheet(self, name: str) -> bytes:
        """A JPEG that shows all pictures of the atlas, row by row in its order."""
        return await self._ask(calls.atlas_sheet(name))

    async def give_feedback(
        self,
        answer: str,
        label: str | Sequence[str] | None = None,
        *,
        verdict: Verdict | None = None,
        picture: Source | None = None,
    ) -> FeedbackEntry:
        """Say what is right about an answer; see `Client.give_feedback`."""
        return await self._ask(feedback_calls.give(answer, label, verdict, picture))

    async def feedback_summary(self) -> FeedbackSummary:
        """Accuracy and calibration of each version of each model, by its feedback."""
        return await self._ask(feedback_calls.summary())

    async def feedback(self, answer: str) -> FeedbackEntry:
        """What is stored about an answer."""
        return await self._ask(feedback_calls.entry(answer))

    async def erase_feedback(self, answer: str) -> FeedbackReceipt:
        """Erase what is stored about an answer, with its picture."""
        return await self._ask(feedback_calls.erase(answer))
