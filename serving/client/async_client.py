"""The client of a running server, for programs that await: the methods of `Client`, awaited."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from serving.client import calls, face_calls, feedback_calls
from serving.client.calls import Call, ClassifiedEntry
from serving.client.chunks import Rows, Source, chunks, join, join_each, merge, picture_index_from
from serving.client.connection import AsyncConnection, pieces
from serving.client.face_calls import Page
from serving.faces.schemas import (
    ChangeInfo,
    ChosenFace,
    EachEmbedded,
    EachIdentified,
    Embedded,
    EnrolledPictures,
    GalleryInfo,
    Identified,
    Imported,
    Person,
    PersonSummary,
    Receipt,
    Several,
    Verified,
)
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

Answer = TypeVar("Answer")


class AsyncClient:
    """Sends requests to a running server and awaits the answers.

    Pictures, options, answers and errors are those of `Client`.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, if the server has keys.
        timeout: seconds to wait for a connection, and for each piece of a response.
        concurrency: maximum number of requests in flight.
    """

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

    async def verify(
        self,
        first: Source,
        second: Source,
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        model: str | None = None,
    ) -> Verified:
        """Whether two pictures show one person, at a target false-match rate of the model."""
        return await self._ask(
            face_calls.verify(first, second, aligned=aligned, several=several, fmr=fmr, model=model)
        )

    async def embed(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        model: str | None = None,
    ) -> Embedded:
        """The embedding of the face on each picture."""
        return await self._ask(
            face_calls.embed(pictures, aligned=aligned, several=several, model=model)
        )

    async def embed_each(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        model: str | None = None,
    ) -> EachEmbedded:
        """The same, with an entry for each picture that is refused, as one without a face is."""
        options = {"aligned": aligned, "several": several, "model": model}
        return join_each(
            await self._ask_each(lambda part: face_calls.embed_each(part, **options), pictures)
        )

    async def identify(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        top: int = 5,
    ) -> Identified:
        """The `top` enrolled people who are nearest to the face on each picture."""
        return await self._ask(
            face_calls.identify(pictures, aligned=aligned, several=several, fmr=fmr, top=top)
        )

    async def identify_each(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        top: int = 5,
    ) -> EachIdentified:
        """The same, with an entry for each picture that is refused."""
        options = {"aligned": aligned, "several": several, "fmr": fmr, "top": top}
        return join_each(
            await self._ask_each(lambda part: face_calls.identify_each(part, **options), pictures)
        )

    async def enrol(
        self,
        person: str,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: ChosenFace = "main",
        idempotency_key: str | None = None,
    ) -> EnrolledPictures:
        """Add pictures of a person; see `Client.enrol`."""
        return await self._ask(
            face_calls.enrol(person, pictures, idempotency_key, aligned=aligned, several=several)
        )

    async def gallery(self) -> GalleryInfo:
        """The size of the gallery and how it is searched."""
        return await self._ask(face_calls.gallery())

    def people(self) -> AsyncIterator[PersonSummary]:
        """Everybody who is enrolled, requested page by page."""
        return self._pages(face_calls.people)

    async def person(self, person: str) -> Person:
        """What is stored about a person."""
        return await self._ask(face_calls.person(person))

    async def remove_person(self, person: str) -> Receipt:
        """Remove a person with all their pictures."""
        return await self._ask(face_calls.remove_person(person))

    async def remove_picture(self, person: str, picture: str) -> Receipt:
        """Remove one picture of a person."""
        return await self._ask(face_calls.remove_picture(person, picture))

    def changes(self) -> AsyncIterator[ChangeInfo]:
        """The change log, oldest entry first, requested page by page."""
        return self._pages(face_calls.changes)

    async def export_gallery(self, file: Path) -> None:
        """Write the whole gallery to a Parquet file."""
        async with self._slots:
            await self._server.download(face_calls.export_gallery(), file)

    async def import_gallery(self, file: Path) -> Imported:
        """Add the pictures of an exported Parquet file; see `Client.import_gallery`."""
        size = (await asyncio.to_thread(file.stat)).st_size
        return await self._ask(face_calls.import_gallery(pieces(file), size))

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
