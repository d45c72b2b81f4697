"""Takes the pictures of a request in: headers read, sizes held to the model, a place found."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from time import perf_counter
from typing import TypeVar

from starlette.requests import Request

from serving import metrics, tracing
from serving.models import ServedModel
from serving.pictures import Opened, open_pictures
from serving.traffic import passage_of
from serving.work import run

Result = TypeVar("Result")

AT_ONCE = 65_536
"""Bytes whose headers are read between two other requests; more are left to a thread."""


async def admit(request: Request, contents: Sequence[bytes], model: ServedModel) -> Opened:
    """Open the pictures of a request, and take a place for them.

    Raises:
        RequestError: a picture is refused, or there is no place for them now.
    """
    policy = model.manifest.input
    if sum(map(len, contents)) <= AT_ONCE:
        opened = open_pictures(contents, policy)
    else:
        opened = await asyncio.to_thread(open_pictures, contents, policy)
    passage_of(request).place.take_pixels(opened.pixels)
    metrics.pictures.labels(model.name).inc(len(contents))
    return opened


async def run_in(pool: Executor, work: Callable[[], Result]) -> Result:
    """Do the work of a request in the pool, and note how long it waited there."""
    queued = perf_counter()

    def begin() -> Result:
        begun = perf_counter()
        metrics.thread_wait.observe(begun - queued)
        tracing.record("queue", queued, begun, queue="thread")
        return work()

    return await run(pool, begin)
