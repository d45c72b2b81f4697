"""Work in threads that can be given up: what nobody waits for stops at its next picture."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from threading import Event
from typing import TypeVar

Result = TypeVar("Result")

_given_up: ContextVar[Event | None] = ContextVar("given_up", default=None)


class GivenUp(Exception):  # noqa: N818 - no error: nobody is there to be told
    """Nobody waits for the result."""


async def run(pool: Executor, work: Callable[[], Result]) -> Result:
    """Do `work` in the pool. Cancelled, it is not begun, or stops where it asks `still_wanted`.

    Args:
        pool: of threads.
        work: takes no arguments.
    """
    given_up = Event()
    context = copy_context()
    context.run(_given_up.set, given_up)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, context.run, work)
    except asyncio.CancelledError:
        given_up.set()
        raise


def still_wanted() -> None:
    """Ask within work whether to go on; always yes outside of `run`.

    Raises:
        GivenUp: nobody waits for the result.
    """
    given_up = _given_up.get()
    if given_up is not None and given_up.is_set():
        raise GivenUp
