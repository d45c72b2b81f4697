"""Threads that callers share: order, failures, and the end."""

from collections.abc import Callable
from contextvars import copy_context
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from serving.inference.callers import Caller, current_caller
from serving.inference.fair_pool import FairPool

if TYPE_CHECKING:
    from concurrent.futures import Future


def submit(pool: FairPool, caller: Caller, work: Callable[[], Any]) -> "Future[Any]":
    context = copy_context()
    context.run(current_caller.set, caller)
    return context.run(pool.submit, work)


def test_a_task_goes_before_what_another_client_has_queued() -> None:
    pool, gate = FairPool(1), Event()
    heavy, light = Caller("heavy"), Caller("light")
    order: list[str] = []
    first = submit(pool, heavy, gate.wait)
    for _ in range(20):
        submit(pool, heavy, lambda: order.append("heavy"))
    submit(pool, light, lambda: order.append("light"))
    gate.set()
    pool.shutdown()
    assert first.result() is True
    assert order.index("light") <= 1
    assert len(order) == 21  # what was queued before the end is run


def test_a_failure_reaches_who_waits_and_the_thread_goes_on() -> None:
    pool = FairPool(1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(60)
    assert pool.submit(pow, 2, 5).result(60) == 32
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(print)


def test_what_is_cancelled_is_not_run() -> None:
    pool, begun, gate, never = FairPool(1), Event(), Event(), Event()

    def work() -> bool:
        begun.set()
        return gate.wait(60)

    busy = pool.submit(work)
    assert begun.wait(60)
    cancelled = pool.submit(never.set)
    assert cancelled.cancel()
    dropped = pool.submit(never.set)
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()
    pool.shutdown()
    assert busy.result() is True
    assert dropped.cancelled()
    assert not never.is_set()
