"""Runs the pictures of many requests in batches: pictures of one shape share a batch.

Nothing waits for a batch to fill. Whenever a lane is free, it takes a picture of the client whose
turn it is (`fair_queue`), and with it what is queued of the same shape, so that an idle server
answers at once and a busy one batches what arrived in the meantime.

A lane is a thread. Handing a picture to a lane and its answer back takes about as long as the
smallest networks, so with only one lane these run on the event loop's own thread.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter, thread_time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from artifacts.devices import GPU_PROVIDERS
from artifacts.pictures import Picture
from artifacts.runtime import Outputs, Runtime
from serving.inference.callers import Caller, current_caller
from serving.inference.costs import Costs
from serving.inference.fair_queue import FairQueue
from serving.inference.in_flight import InFlight
from serving.observability import metrics, tracing

Row = dict[str, npt.NDArray[np.float32]]


class _Group(NamedTuple):
    """What pictures must have in common to share a batch."""

    runtime: Runtime
    names: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(eq=False)
class _Job:
    """The pictures of one request."""

    caller: Caller
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Row]]
    rows: list[Row]
    missing: int
    """Number of pictures whose outputs are not known yet."""
    over: bool = False
    """Whether the job has failed or was cancelled; its queued pictures are not run any more."""
    queued: float = field(default_factory=perf_counter)
    begun: float = 0.0
    """When its first picture was taken from the queue; a reading of `perf_counter`, as `queued`."""


class _Item(NamedTuple):
    """One picture of a job."""

    job: _Job
    place: int
    picture: Picture
    cost: float


_Finished = tuple[_Job, Exception | None]
_Queue = FairQueue[_Group, _Item]


class Scheduler:
    """Batches pictures by model and shape, and runs the batches on its own threads.

    A process has one scheduler, because all models share the process's cores.

    Args:
        lanes: number of batches that run at the same time.
        in_flight: counts the requests at all workers of the server.
    """

    def __init__(self, lanes: int, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._queue: _Queue = FairQueue()
        self._quick: _Queue = FairQueue()
        """What the event loop's thread runs."""
        self._changed = Condition()
        self._closed = False
        self._costs = Costs()
        self._lanes = lanes
        self._threads = [
            Thread(target=self._lane, name=f"vitrine-lane-{index}", daemon=True)
            for index in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Number of pictures that wait for a batch."""
        with self._changed:
            return len(self._queue) + len(self._quick)

    def check_wait(self, runtime: Runtime, pictures: int = 1) -> None:
        """Check that pictures of the current caller would be answered before its deadline.

        Args:
            runtime: of the model that is asked.
            pictures: how many there are.

        Raises:
            RequestError: so much is queued that they would not.
        """
        each = self._costs.per_picture(runtime)
        if not each:
            return
        caller, work = current_caller.get(), pictures * each
        if len(self._quick) or len(self._queue):
            with self._changed:
                queue = self._quick if len(self._quick) else self._queue
                work = queue.work_before(caller, work)
        caller.check_wait(work / self._lanes)

    async def run(
        self, runtime: Runtime, pictures: Sequence[Picture], names: Sequence[str]
    ) -> Outputs:
        """Return what `Runtime.run` would, from batches that are shared with other requests.

        If a batch fails, its pictures are run again one by one, so that only the request whose
        picture is at fault fails. If the calling task is cancelled, its pictures leave the queue;
        once its deadline has passed, they are not run any more.

        Args:
            runtime: of a served model.
            pictures: prepared by the runtime, at least one.
            names: of the outputs wanted.

        Raises:
            Exception: whatever ONNX Runtime raised for a picture of this request.
        """
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        job = _Job(current_caller.get(), loop, answer, [{}] * len(pictures), len(pictures))
        self._in_flight.enter()
        try:
            self._put(runtime, job, pictures, tuple(names))
            rows = await job.future
        except asyncio.CancelledError:
            self._remove(job)
            raise
        finally:
            self._in_flight.leave()
        tracing.record("queue", job.queued, job.begun, queue="batch")
        tracing.record("inference", job.begun, perf_counter(), model=runtime.name)
        if len(rows) == 1:
            return {name: rows[0][name][None] for name in names}
        return {name: np.stack([row[name] for row in rows]) for name in names}

    def close(self) -> None:
        """End the threads, each after the batch that it is running."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _put(
        self, runtime: Runtime, job: _Job, pictures: Sequence[Picture], names: tuple[str, ...]
    ) -> None:
        with self._changed:
            per_byte = self._costs.per_byte(runtime)
            for place, picture in enumerate(pictures):
                group = _Group(runtime, names, picture.shape)
                inline = self._inline_pictures(group, picture.nbytes) > 0
                if inline and not len(self._quick):
                    job.loop.call_soon(self._run_inline, job.queued)
                queue = self._quick if inline else self._queue
                item = _Item(job, place, picture, per_byte * picture.nbytes)
                queue.put(job.caller, group, item)
                if not inline:
                    self._changed.notify(self._lanes)
            metrics.queued.inc(len(pictures))

    def _remove(self, job: _Job) -> None:
        with self._changed:
            job.over = True
            for queue in (self._queue, self._quick):
                metrics.queued.dec(queue.remove(job.caller, lambda item: item.job is job))

    def _lane(self) -> None:
        since = perf_counter()
        while True:
            with self._changed:
                while not len(self._queue) and not self._closed:
                    self._changed.wait()
                    since = perf_counter()
                if self._closed:
                    return
                group, items = self._take(self._queue)
            since = self._run_batch(group, items, since)

    def _run_inline(self, since: float) -> None:
        """Run a batch on the event loop's thread; what else is queued waits for the next round."""
        with self._changed:
            if not len(self._quick):
                return  # the requests were cancelled
            group, items = self._take(self._quick)
            left = len(self._quick)
        ended = self._run_batch(group, items, since)
        if left:
            asyncio.get_running_loop().call_soon(self._run_inline, ended)

    def _run_batch(self, group: _Group, items: list[_Item], since: float) -> float:
        """Run a batch and record its cost; returns when it ended.

        Args:
            group: of the items.
            items: the pictures of the batch.
            since: when nothing else kept the batch from being run; what then passes until it runs
                is part of its cost, because the threads of the server share the cores.
        """
        _record_start(group, items)
        _deliver(self._run(group, items))
        ended = perf_counter()
        with self._changed:
            size = sum(item.picture.nbytes for item in items)
            self._costs.add(group.runtime, ended - since, len(items), size)
        return ended

    def _take(self, queue: _Queue) -> tuple[_Group, list[_Item]]:
        group, items = queue.take(self._most if queue is self._queue else self._most_inline)
        metrics.queued.dec(len(items))
        return group, items

    def _most(self, group: _Group, item: _Item) -> int:
        """How many pictures a batch of a group may have."""
        if group.runtime.policy.batch == "one":
            return 1
        return max(1, group.runtime.batch_bytes // item.picture.nbytes)

    def _most_inline(self, group: _Group, item: _Item) -> int:
        inline = self._inline_pictures(group, item.picture.nbytes)
        return min(self._most(group, item), max(1, inline))

    def _inline_pictures(self, group: _Group, size: int) -> int:
        """How many pictures of `size` bytes the event loop may run in one batch.

        It is 0 where lanes run everything: with several of them, other cores would idle meanwhile.
        """
        if self._lanes > 1 or _on_gpu(group):
            return 0
        return self._costs.inline_pictures(group.runtime, size)

    def _has_all_cores(self, group: _Group, size: int) -> bool:
        """Whether a batch of `size` bytes may use all cores, and would gain by it."""
        return self._costs.gains_by_cores(group.runtime, size) and self._in_flight.alone

    def _run(self, group: _Group, items: list[_Item]) -> list[_Finished]:
        """Run a batch; return the jobs that it completes or fails."""
        items = [item for item in items if not item.job.over and not item.job.caller.late]
        if not items:
            return []
        try:
            outputs = self._outputs(group, np.stack([item.picture for item in items]))
        except Exception as error:  # noqa: BLE001 - the request that asked gets it, whatever it is
            if len(items) == 1:
                items[0].job.over = True
                return [(items[0].job, error)]
            return [finished for item in items for finished in self._run(group, [item])]
        finished: list[_Finished] = []
        for index, (job, place, _, _) in enumerate(items):
            job.rows[place] = {name: outputs[name][index] for name in group.names}
            with self._changed:
                job.missing -= 1
                if not job.missing:
                    finished.append((job, None))
        return finished

    def _outputs(self, group: _Group, batch: Picture) -> Outputs:
        """Run a batch (N x H x W x 3), and record the model's pace."""
        spread = self._has_all_cores(group, batch.nbytes)
        begun = thread_time()
        outputs = group.runtime.run_batch(batch, group.names, spread=spread)
        if not spread:
            self._costs.add_processor_time(group.runtime, thread_time() - begun, batch.nbytes)
        return outputs


def _record_start(group: _Group, items: list[_Item]) -> None:
    now = perf_counter()
    metrics.batch_wait.observe(now - items[0].job.queued)
    metrics.batches.labels(group.runtime.name).observe(len(items))
    for item in items:
        item.job.begun = item.job.begun or now


def _deliver(finished: list[_Finished]) -> None:
    """Wake the requests, with a single call to each event loop of another thread."""

    def resolve(jobs: list[_Finished]) -> None:
        for job, error in jobs:
            if job.future.done():
                continue
            if error is None:
                job.future.set_result(job.rows)
            else:
                job.future.set_exception(error)

    here = None
    with suppress(RuntimeError):  # raised on a lane, which has no event loop
        here = asyncio.get_running_loop()
    for loop in {job.loop for job, _ in finished}:
        mine = [(job, error) for job, error in finished if job.loop is loop]
        if loop is here:
            resolve(mine)
            continue
        with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
            loop.call_soon_threadsafe(resolve, mine)


def _on_gpu(group: _Group) -> bool:
    return group.runtime.provider in GPU_PROVIDERS
