"""Answers the pictures of a request one by one, so that a bad picture leaves the others alone.

The pictures are read, decoded and run in windows of bounded size, whatever the number of pictures.
The next window begins when the answers of the one before have been taken from here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from artifacts import InputPolicy
from artifacts.preprocessing import Prepared
from artifacts.runtime import Outputs
from serving.feedback.answer_ids import picture_digest
from serving.http.intake import Answerer, run_in
from serving.http.middleware import context_of
from serving.http.responses import json_response, stamp_headers
from serving.http.upload import holds_archive, read_members, spool_of
from serving.inference.served_model import ServedModel
from serving.observability import metrics
from serving.observability.tracing import span
from serving.pictures.archives import Member
from serving.pictures.cancellation import still_wanted
from serving.pictures.decode import decode
from serving.pictures.header import PlainJpeg, open_encoded, size_of
from serving.pictures.limits import check_scans, check_size
from serving.problems import RequestError
from serving.schemas import NDJSON, Entry, RefusedPicture

Errors = Literal["request", "each"]
LINES: dict[int | str, dict[str, Any]] = {200: {"content": {NDJSON: {}}}}
"""What the OpenAPI document says about answers in lines."""

WINDOW_PICTURES = 64
"""Maximum number of pictures in a window."""
WINDOW_BYTES = 10_000_000
"""Encoded bytes of a window, unless one picture alone has more."""
WINDOW_PIXELS = 16_000_000
"""Pixels of a window, unless one picture alone has more."""
ROOM_SECONDS = 0.01
"""Time between two looks whether there is room for the pixels of the next window."""


@dataclass
class Item:
    """One picture on its way."""

    index: int
    name: str | None
    content: bytes = b""
    image: Image.Image | PlainJpeg | None = None
    pixels: int = 0
    prepared: Prepared | None = None
    problem: RequestError | None = None
    """Why it is not answered."""


class Bulk:
    """How a request of pictures that are answered one by one is to be answered.

    Args:
        request: the request.
        answer: has models answer.
        errors: `each` answers the other pictures if one is refused.
    """

    def __init__(self, request: Request, answer: Answerer, errors: Errors) -> None:
        self._request, self._answer = request, answer
        self.lines = NDJSON in request.headers.get("accept", "")
        """Whether each answer is sent when it is ready, as a line of its own."""
        self.each = self.lines or errors == "each"
        self.asked = self.each or holds_archive(request)
        """Whether the request is to be answered in this way."""
        self._context = context_of(request)

    async def respond(
        self,
        model: ServedModel,
        wanted: Sequence[str],
        answers: Callable[[Sequence[Prepared], Outputs], Sequence[Entry]],
        whole: Callable[[Any], BaseModel],
        *,
        digests: bool = False,
    ) -> Response:
        """Answer the request, in lines or as a whole.

        Args:
            model: the model that answers.
            wanted: names of outputs.
            answers: makes the entries of pictures from the outputs for them.
            whole: makes the answer that holds the tuple of all entries.
            digests: whether to leave the digests of the pictures that `answers` is given in the
                request's context.

        Raises:
            RequestError: a picture is refused, unless `each`, or the request is.
        """
        batches = self._batches(model, wanted, answers, digests=digests)
        if not self.lines:
            return json_response(
                whole(tuple([entry async for batch in batches for entry in batch]))
            )
        first = await anext(batches)
        headers = stamp_headers(model, model.runtime.provider)
        return StreamingResponse(self._sent(first, batches), 200, headers, NDJSON)

    async def _batches(
        self,
        model: ServedModel,
        wanted: Sequence[str],
        answers: Callable[[Sequence[Prepared], Outputs], Sequence[Entry]],
        *,
        digests: bool,
    ) -> AsyncIterator[list[Entry]]:
        """Yield the entries of one window after the other."""
        pool = self._answer.pool
        with spool_of(self._request) as spool:
            windows = _windows(await read_members(self._request, spool, pool), model.manifest.input)
            while window := await run_in(pool, lambda: next(windows, None)):
                metrics.pictures.labels(model.name).inc(len(window))
                self._check(window)
                good = await self._decoded(window, model, digests=digests)
                prepared = [item.prepared for item in good if item.prepared is not None]
                given: Sequence[Entry] = ()
                if prepared:
                    outputs = await self._answer.run(self._request, model, prepared, wanted)
                    given = answers(prepared, outputs)
                self._context.place.give_pixels()
                yield _entries(window, iter(given))
                self._context.deadline.extend()

    async def _sent(
        self, first: Sequence[Entry], batches: AsyncIterator[Sequence[Entry]]
    ) -> AsyncIterator[bytes]:
        yield _lines(first)
        try:
            async for batch in batches:
                yield _lines(batch)
        except RequestError as problem:  # what was sent cannot be taken back
            yield _lines([RefusedPicture.of(problem.content())])
        except Exception as error:  # noqa: BLE001 - it is logged, and the client is told
            yield _lines([RefusedPicture.of(self._context.failure(error).content())])

    async def _decoded(
        self, window: list[Item], model: ServedModel, *, digests: bool
    ) -> list[Item]:
        """Take room for the pixels of a window and decode it; returns what has no problem."""
        place = self._context.place
        pixels = [item.pixels for item in window if item.problem is None]
        while window[0].index and not place.has_room(pixels):  # noqa: ASYNC110 - others' work ends it
            await asyncio.sleep(ROOM_SECONDS)
        place.take_pixels(pixels)
        await run_in(self._answer.pool, lambda: _prepare(window, model))
        self._check(window)
        good = [item for item in window if item.problem is None]
        if digests:
            self._context.digests = [picture_digest(item.content) for item in good]
        return good

    def _check(self, window: Sequence[Item]) -> None:
        """Refuse the request for the first problem, unless each picture has an entry of its own."""
        problem = next((item.problem for item in window if item.problem is not None), None)
        if problem is not None and not self.each:
            raise problem


def _entries(window: Sequence[Item], answers: Iterator[Entry]) -> list[Entry]:
    """Return the entries of a window, given the answers for its pictures without a problem."""
    return [
        RefusedPicture.of(item.problem.content())
        if item.problem is not None
        else next(answers).model_copy(update={"index": item.index, "name": item.name})
        for item in window
    ]


def _windows(members: Sequence[Member], policy: InputPolicy) -> Iterator[list[Item]]:
    """Read the pictures and their headers, and yield them in windows; at least one each."""
    window: list[Item] = []
    size = pixels = 0
    for index, member in enumerate(members):
        still_wanted()
        item = _read(index, member, policy)
        full = len(window) == WINDOW_PICTURES or size + len(item.content) > WINDOW_BYTES
        if window and (full or pixels + item.pixels > WINDOW_PIXELS):
            yield window
            window, size, pixels = [], 0, 0
        window.append(item)
        size, pixels = size + len(item.content), pixels + item.pixels
    yield window


def _read(index: int, member: Member, policy: InputPolicy) -> Item:
    item = Item(index, member.name)
    try:
        content = member.read()
        image = open_encoded(content)
        width, height = size_of(image)
        check_size(width, height, policy)
        check_scans(content, width * height)
    except RequestError as error:
        item.problem = error.at(index, member.name)
    else:
        item.content, item.image, item.pixels = content, image, width * height
    return item


def _prepare(window: Sequence[Item], model: ServedModel) -> None:
    """Decode the pictures of a window as the model sees them, for as long as somebody waits."""
    with span("decode", pictures=len(window)):
        for item in window:
            still_wanted()
            if item.image is None:
                continue
            try:
                item.prepared = model.runtime.prepare_and_tell(decode(item.image))
            except RequestError as error:
                item.problem = error.at(item.index, item.name)
            item.image = None


def _lines(entries: Sequence[BaseModel]) -> bytes:
    return b"".join(entry.model_dump_json(by_alias=True).encode() + b"\n" for entry in entries)
