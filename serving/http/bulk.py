"""Answers the pictures of a request one by one, so that a bad picture leaves the others alone.

The pictures are read, decoded and run in windows of bounded size, whatever the number of pictures.
The next window begins when the answers of the one before have been taken from here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from artifacts import InputPolicy
from serving.feedback.answer_ids import picture_digest
from serving.http.intake import run_in
from serving.http.middleware import context_of
from serving.http.responses import json_response, stamp_headers
from serving.http.upload import holds_archive, read_members, spool_of
from serving.inference.served_model import ServedModel
from serving.observability import metrics
from serving.observability.tracing import span
from serving.pictures.archives import Member
from serving.pictures.cancellation import still_wanted
from serving.pictures.header import Openable, open_encoded, size_of
from serving.pictures.limits import check_scans, check_size
from serving.problems import RequestError
from serving.schemas import NDJSON, Entry, RefusedPicture

Thing = TypeVar("Thing")
"""What is made of each picture before those of a window are answered together."""
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
class Item(Generic[Thing]):
    """One picture on its way."""

    index: int
    name: str | None
    content: bytes = b""
    image: Openable | None = None
    pixels: int = 0
    prepared: Thing | None = None
    problem: RequestError | None = None
    """Why it is not answered."""
    entry: Entry = field(default_factory=Entry)
    """Its answer, or the problem."""

    def take(self, answer: Entry | RequestError) -> None:
        """Take the answer, or the reason why it is refused."""
        if isinstance(answer, RequestError):
            self.problem = answer.at(self.index, self.name)
            self.entry = RefusedPicture.of(self.problem.content())
        else:
            self.entry = answer.at(self.index, self.name)


class Bulk:
    """How a request of pictures that are answered one by one is to be answered.

    Args:
        request: the request.
        pool: threads that decode pictures.
        errors: `each` answers the other pictures if one is refused.
    """

    def __init__(self, request: Request, pool: Executor, errors: Errors) -> None:
        self._request, self._pool = request, pool
        self.lines = NDJSON in request.headers.get("accept", "")
        """Whether each answer is sent when it is ready, as a line of its own."""
        self.each = self.lines or errors == "each"
        self.asked = self.each or holds_archive(request)
        """Whether the request is to be answered in this way."""
        self._context = context_of(request)

    async def respond(
        self,
        model: ServedModel,
        prepare: Callable[[Openable], Thing],
        answers: Callable[[Sequence[Thing]], Awaitable[Sequence[Entry | RequestError]]],
        whole: Callable[[Any], BaseModel],
        *,
        digests: bool = False,
    ) -> Response:
        """Answer the request, in lines or as a whole.

        Args:
            model: the model that answers.
            prepare: decodes each picture and makes of it what `answers` takes, in a thread of the
                pool.
            answers: makes an entry of each picture that was prepared, or says why it is refused.
            whole: makes the answer that holds the tuple of all entries.
            digests: whether to leave the digests of the pictures that `answers` is given in the
                request's context.

        Raises:
            RequestError: a picture is refused, unless `each`, or the request is.
        """
        batches = self._batches(model, prepare, answers, digests=digests)
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
        prepare: Callable[[Openable], Thing],
        answers: Callable[[Sequence[Thing]], Awaitable[Sequence[Entry | RequestError]]],
        *,
        digests: bool,
    ) -> AsyncIterator[list[Entry]]:
        """Yield the entries of one window after the other."""
        windows: Iterator[list[Item[Thing]]]
        with spool_of(self._request) as spool:
            members = await read_members(self._request, spool, self._pool)
            windows = _windows(members, model.manifest.input)
            while window := await run_in(self._pool, lambda: next(windows, None)):
                metrics.pictures.labels(model.name).inc(len(window))
                self._check(window)
                await self._decode(window, prepare)
                good = [(item, item.prepared) for item in window if item.prepared is not None]
                if digests:
                    self._context.digests = [picture_digest(item.content) for item, _ in good]
                if good:
                    given = await answers([prepared for _, prepared in good])
                    for (item, _), answer in zip(good, given, strict=True):
                        item.take(answer)
                    self._check(window)
                self._context.place.give_pixels()
                yield [item.entry for item in window]
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

    async def _decode(
        self, window: list[Item[Thing]], prepare: Callable[[Openable], Thing]
    ) -> None:
        """Take room for the pixels of a window, and decode and prepare it."""
        place = self._context.place
        pixels = [item.pixels for item in window if item.problem is None]
        while window[0].index and not place.has_room(pixels):  # noqa: ASYNC110 - others' work ends it
            await asyncio.sleep(ROOM_SECONDS)
        place.take_pixels(pixels)
        await run_in(self._pool, lambda: _prepare(window, prepare))
        self._check(window)

    def _check(self, window: Sequence[Item[Thing]]) -> None:
        """Refuse the request for the first problem, unless each picture has an entry of its own."""
        problem = next((item.problem for item in window if item.problem is not None), None)
        if problem is not None and not self.each:
            raise problem


def _windows(members: Sequence[Member], policy: InputPolicy) -> Iterator[list[Item[Any]]]:
    """Read the pictures and their headers, and yield them in windows; at least one each."""
    window: list[Item[Any]] = []
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


def _read(index: int, member: Member, policy: InputPolicy) -> Item[Any]:
    item = Item[Any](index, member.name)
    try:
        content = member.read()
        image = open_encoded(content)
        width, height = size_of(image)
        check_size(width, height, policy)
        check_scans(content, width * height)
    except RequestError as error:
        item.take(error)
    else:
        item.content, item.image, item.pixels = content, image, width * height
    return item


def _prepare(window: Sequence[Item[Thing]], prepare: Callable[[Openable], Thing]) -> None:
    """Decode and prepare the pictures of a window, for as long as somebody waits."""
    with span("decode", pictures=len(window)):
        for item in window:
            still_wanted()
            if item.image is None:
                continue
            try:
                item.prepared = prepare(item.image)
            except RequestError as error:
                item.take(error)
            item.image = None


def _lines(entries: Sequence[BaseModel]) -> bytes:
    return b"".join(entry.model_dump_json(by_alias=True).encode() + b"\n" for entry in entries)
