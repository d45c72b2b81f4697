"""From a request to a model's answer: reads the pictures, admits them, and has the model answer."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from starlette.requests import Request

from artifacts.pictures import Picture
from artifacts.preprocessing import Prepared
from artifacts.runtime import Outputs
from serving.feedback.answer_ids import picture_digest
from serving.feedback.feedback import Feedback
from serving.http.body import read_contents
from serving.http.middleware import context_of
from serving.inference.models import Models
from serving.inference.scheduler import Scheduler
from serving.inference.served_model import ServedModel
from serving.inspection.indexes import Indexes
from serving.inspection.recent_answers import RecentAnswers
from serving.observability import metrics, tracing
from serving.pictures.cancellation import run
from serving.pictures.decode import prepare_pictures
from serving.pictures.header import Opened, open_pictures

Result = TypeVar("Result")

MAX_INLINE_BYTES = 65_536
"""Request bodies up to this size have their headers read on the event loop; larger ones are read
in a thread."""
MAX_INLINE_PIXELS = 256 * 256
"""Pictures up to this size are decoded on the event loop, which takes less than a millisecond for a
JPEG; larger ones are decoded in a thread."""
PIECE_PIXELS = 4 * MAX_INLINE_PIXELS
"""Pixels of the pictures of a request that are decoded without letting other requests go first. A
piece takes a few milliseconds, and handing it to a thread 0.1 ms."""


class Answerer:
    """Reads the pictures of a request and has a model answer.

    Args:
        pool: threads that decode pictures.
        scheduler: runs the models.
    """

    def __init__(self, pool: Executor, scheduler: Scheduler) -> None:
        self.pool = pool
        self._scheduler = scheduler

    async def __call__(
        self, request: Request, model: ServedModel, output: str
    ) -> tuple[list[Prepared], npt.NDArray[np.float32]]:
        """Return the pictures as the model saw them, and the rows of one output.

        Args:
            request: the request.
            model: the model that answers.
            output: name of the output.

        Returns:
            N pictures, and float32 N x D.
        """
        prepared, outputs = await self.outputs(request, model, (output,))
        return prepared, outputs[output]

    async def outputs(
        self, request: Request, model: ServedModel, wanted: Sequence[str], *, digests: bool = False
    ) -> tuple[list[Prepared], Outputs]:
        """Return the pictures as the model saw them, and the wanted outputs.

        Args:
            request: the request.
            model: the model that answers.
            wanted: names of outputs.
            digests: whether to leave the pictures' digests in the request's context.
        """
        self._scheduler.check_wait(model.runtime)  # before its body takes any work
        contents = await read_contents(request)
        return await self.of(request, model, contents, wanted, digests=digests)

    async def of(
        self,
        request: Request,
        model: ServedModel,
        contents: Sequence[bytes | Picture],
        wanted: Sequence[str],
        *,
        digests: bool = False,
    ) -> tuple[list[Prepared], Outputs]:
        """As `outputs`, for pictures that have been read from the request's body.

        Args:
            request: the request.
            model: the model that answers.
            contents: encoded pictures, or uint8 H x W x 3 RGB.
            wanted: names of outputs.
            digests: whether to leave the digests of encoded pictures in the request's context.
        """
        opened = await admit(request, contents, model)
        self._scheduler.check_wait(model.runtime, len(contents))

        def decode(start: int = 0, stop: int | None = None) -> list[Prepared]:
            prepared = prepare_pictures(opened, model.manifest.input, start, stop)
            if digests:
                given = contents[start:stop]
                files = [content for content in given if isinstance(content, bytes)]
                context_of(request).digests += map(picture_digest, files)
            return prepared

        # Handing work to a thread costs more than decoding a small picture, unless its file is
        # large for its size.
        size = sum(map(len, contents))
        inline = sum(opened.scanned) <= MAX_INLINE_PIXELS and size <= MAX_INLINE_BYTES
        if model.manifest.input.drawing is not None:  # searching one takes up to 2 ms
            inline = inline and len(contents) == 1
        if inline:
            prepared = decode()
        else:  # in pieces, so that the pictures of others get between them
            prepared = []
            for start, stop in pieces(opened.scanned):
                prepared += await run_in(self.pool, partial(decode, start, stop))
        return prepared, await self.run(request, model, prepared, wanted)

    async def run(
        self,
        request: Request,
        model: ServedModel,
        prepared: Sequence[Prepared],
        wanted: Sequence[str],
    ) -> Outputs:
        """Return the wanted outputs for pictures that have been prepared, at least one."""
        recent = recent_answers_of(request)
        names = recent.outputs(model, *wanted)
        shown = [each.picture for each in prepared]
        outputs = await self._scheduler.run(model.runtime, shown, names)
        recent.add(model, [each.size for each in prepared], outputs)
        return outputs


async def open_model(model: ServedModel) -> None:
    """Open a model that is loaded at its first use, while other requests go on.

    Raises:
        RequestError: it cannot be opened.
    """
    if not model.is_open:
        await asyncio.to_thread(lambda: model.runtime)
        metrics.model_bytes.labels(model.name).set(model.resident_bytes)


async def admit(
    request: Request, contents: Sequence[bytes | Picture], model: ServedModel
) -> Opened:
    """Read the headers of a request's pictures, and reserve room for their pixels.

    Raises:
        RequestError: a picture is refused, or the server has no room for the pictures now.
    """
    policy = model.manifest.input
    if sum(map(len, contents)) <= MAX_INLINE_BYTES:
        opened = open_pictures(contents, policy)
    else:
        opened = await asyncio.to_thread(open_pictures, contents, policy)
    context_of(request).place.take_pixels(opened.pixels)
    metrics.pictures.labels(model.name).inc(len(contents))
    return opened


def pieces(pixels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Divide pictures into pieces of at most `PIECE_PIXELS`, or one picture that has more.

    Args:
        pixels: number of pixels of each picture.

    Yields:
        The index of a piece's first picture, and that after its last.
    """
    start = size = 0
    for index, each in enumerate(pixels):
        if index > start and size + each > PIECE_PIXELS:
            yield start, index
            start, size = index, 0
        size += each
    yield start, len(pixels)


async def run_in(pool: Executor, work: Callable[[], Result]) -> Result:
    """Run the work of a request in the pool, and record how long it waited for a thread."""
    queued = perf_counter()

    def begin() -> Result:
        begun = perf_counter()
        metrics.thread_wait.observe(begun - queued)
        tracing.record("queue", queued, begun, queue="thread")
        return work()

    return await run(pool, begin)


def models_of(request: Request) -> Models:
    """The models that are being served."""
    models: Models = request.app.state.models
    return models


def indexes_of(request: Request) -> Indexes:
    """The indexes of pictures of the models that are being served."""
    indexes: Indexes = request.app.state.indexes
    return indexes


def feedback_of(request: Request) -> Feedback | None:
    """What takes feedback about answers; None if this server takes none."""
    feedback: Feedback | None = request.app.state.feedback
    return feedback


def recent_answers_of(request: Request) -> RecentAnswers:
    """The recent answers of this server, from which drift is computed."""
    recent: RecentAnswers = request.app.state.recent_answers
    return recent
