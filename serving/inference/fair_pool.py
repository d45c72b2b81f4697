"""Threads for the work around models, such as decoding, which clients share equally."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import thread_time
from typing import Any, ParamSpec, TypeVar

from serving.inference.callers import Caller, current_caller
from serving.inference.fair_queue import FairQueue

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

NEWEST = 0.1
"""Weight of the newest duration in the mean that predicts the next."""


@dataclass(eq=False)
class _Task:
    caller: Caller
    cost: float
    work: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)


class FairPool(Executor):
    """An executor whose tasks take turns by the caller that submitted them.

    A task is not interrupted. Long work is therefore submitted in pieces, so that the tasks of
    others get between them.

    Args:
        threads: number of tasks that run at the same time.
    """

    def __init__(self, threads: int) -> None:
        self._queue: FairQueue[None, _Task] = FairQueue()
        self._changed = Condition()
        self._closed = False
        self._mean = 0.001
        """Mean processor time of a task, in seconds."""
        self._threads = [
            Thread(target=self._work, name=f"vitrine-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> "Future[Result]":
        """Queue a task for the current caller.

        Raises:
            RuntimeError: the pool was shut down.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool takes no more tasks")
            task = _Task(current_caller.get(), self._mean, lambda: fn(*args, **kwargs))
            self._queue.put(task.caller, None, task)
            self._changed.notify()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT002
        """End the threads once nothing is queued; `cancel_futures` cancels what is queued."""
        with self._changed:
            self._closed = True
            while cancel_futures and len(self._queue):
                _, (task,) = self._queue.take(_one)
                task.future.cancel()
            self._changed.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not len(self._queue) and not self._closed:
                    self._changed.wait()
                if not len(self._queue):
                    return
                _, (task,) = self._queue.take(_one)
            if not task.future.set_running_or_notify_cancel():
                continue
            begun = thread_time()
            try:
                task.future.set_result(task.work())
            except BaseException as error:  # noqa: BLE001 - whoever waits for the task gets it
                task.future.set_exception(error)
            spent = thread_time() - begun
            with self._changed:
                self._mean += NEWEST * (spent - self._mean)
                self._queue.charge(task.caller, spent - task.cost)
            del task  # and with it the pictures that its work holds


def _one(_: None, __: _Task) -> int:
    return 1
