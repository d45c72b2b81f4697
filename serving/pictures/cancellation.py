"""Work in threads that can be cancelled: decoding stops at the next picture nobody waits for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from threading import Event
from typing import TypeVar

Result = TypeVar("Result")

_cancelled: ContextVar[Event | None] = ContextVar("cancelled", default=None)


class Cancelled(Exception):  # noqa: N818 - it is not an error, and nobody is there to be told
    """Nobody waits for the result of this work any more."""


async def run(pool: Executor, work: Callable[[], Result]) -> Result:
    """Run `work` in a thread of the pool.

    If the awaiting task is cancelled, the work is not started or, once running, stops at its next
    call of `still_wanted`.

    Args:
        pool: of threads.
        work: takes no arguments.
    """
    cancelled = Event()
    context = copy_context()
    context.run(_cancelled.set, cancelled)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, context.run, work)
    except asyncio.CancelledError:
        cancelled.set()
        raise


def still_wanted() -> None:
    """Return if somebody waits for the current work, as is always so outside of `run`.

    Raises:
        Cancelled: nobody does.
    """
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled.is_set():
        raise Cancelled
