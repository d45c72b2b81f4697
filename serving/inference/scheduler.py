"""Runs the pictures of many requests in batches: pictures of one shape share a batch.

Nothing waits for a batch to fill. Whenever a lane is free, it takes what is queued with the shape
of the picture that has waited longest, so that an idle server answers at once and a busy one
batches what arrived in the meantime.

A lane is a thread. Handing a picture to a lane and its answer back takes about as long as the
smallest networks, so with only one lane these run on the event loop's own thread.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter, thread_time
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from artifacts.devices import GPU_PROVIDERS
from artifacts.pictures import Picture
from artifacts.runtime import Outputs, Runtime
from serving.inference.in_flight import InFlight
from serving.observability import metrics, tracing

MAX_INLINE_SECONDS = 0.003
"""Longest time that one batch may block the event loop."""
MIN_SPREAD_SECONDS = 0.001
"""Shortest batch that is spread over all cores when one request has the server to itself."""

Row = dict[str, npt.NDArray[np.float32]]


class _Group(NamedTuple):
    """What pictures must have in common to share a batch."""

    runtime: Runtime
    names: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(eq=False)
class _Job:
    """The pictures of one request."""

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


_Finished = tuple[_Job, Exception | None]


class Scheduler:
    """Batches pictures by model and shape, and runs the batches on its own threads.

    A process has one scheduler, because all models share the process's cores.

    Args:
        lanes: number of batches that run at the same time.
        in_flight: counts the requests at all workers of the server.
    """

    def __init__(self, lanes: int, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._groups: dict[_Group, deque[_Item]] = {}  # in the order of their oldest picture
        self._changed = Condition()
        self._closed = False
        self._pace: WeakKeyDictionary[Runtime, float] = WeakKeyDictionary()
        """Seconds of processor time per byte of pictures, from the latest batch of each model."""
        self._single_lane = lanes == 1
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
            return sum(len(items) for items in self._groups.values())

    async def run(
        self, runtime: Runtime, pictures: Sequence[Picture], names: Sequence[str]
    ) -> Outputs:
        """Return what `Runtime.run` would, from batches that are shared with other requests.

        If a batch fails, its pictures are run again one by one, so that only the request whose
        picture is at fault fails. If the calling task is cancelled, its pictures leave the queue.

        Args:
            runtime: of a served model.
            pictures: prepared by the runtime, at least one.
            names: of the outputs wanted.

        Raises:
            Exception: whatever ONNX Runtime raised for a picture of this request.
        """
        loop = asyncio.get_running_loop()
        job = _Job(loop, loop.create_future(), [{}] * len(pictures), len(pictures))
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
            for place, picture in enumerate(pictures):
                group = _Group(runtime, names, picture.shape)
                inline = self._inline_pictures(group, picture.nbytes) > 0
                if inline and group not in self._groups:
                    job.loop.call_soon(self._run_inline, group)
                self._groups.setdefault(group, deque()).append(_Item(job, place, picture))
                if not inline:
                    self._changed.notify(len(self._threads))
            metrics.queued.inc(len(pictures))

    def _remove(self, job: _Job) -> None:
        with self._changed:
            job.over = True
            for group, items in list(self._groups.items()):
                kept = deque(item for item in items if item.job is not job)
                metrics.queued.dec(len(items) - len(kept))
                if kept:
                    self._groups[group] = kept
                else:
                    del self._groups[group]

    def _lane(self) -> None:
        while True:
            with self._changed:
                while not self._groups and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                group = next(iter(self._groups))  # the group of the picture that waits longest
                items = self._take(group)
            _record_start(group, items)
            _deliver(self._run(group, items))

    def _inline_pictures(self, group: _Group, size: int) -> int:
        """How many pictures of `size` bytes the event loop may run in one batch.

        It is 0 where lanes run everything: with several of them, other cores would idle meanwhile.
        """
        pace = self._pace.get(group.runtime)
        if pace is None or not self._single_lane or _on_gpu(group):
            return 0
        return int(MAX_INLINE_SECONDS / (pace * size))

    def _has_all_cores(self, group: _Group, size: int) -> bool:
        """Whether a batch of `size` bytes may use all cores, and would gain by it."""
        seconds = self._pace.get(group.runtime, 0.0) * size
        gains = group.runtime.spreads and seconds >= MIN_SPREAD_SECONDS
        return gains and self._in_flight.alone

    def _run_inline(self, group: _Group) -> None:
        """Run a batch on the event loop's thread; the rest of the group waits its turn."""
        with self._changed:
            if group not in self._groups:
                return  # a lane has taken it
            most = self._inline_pictures(group, self._groups[group][0].picture.nbytes)
            items = self._take(group, max(1, most))
            left = group in self._groups
        _record_start(group, items)
        if left:
            asyncio.get_running_loop().call_soon(self._run_inline, group)
        _deliver(self._run(group, items))

    def _take(self, group: _Group, most: int | None = None) -> list[_Item]:
        """Take a batch of a group; the rest of the group goes to the end of the line."""
        waiting = self._groups.pop(group)
        budget = 0 if group.runtime.policy.batch == "one" else group.runtime.batch_bytes
        count = min(max(1, budget // waiting[0].picture.nbytes), most or len(waiting), len(waiting))
        items = [waiting.popleft() for _ in range(count)]
        if waiting:
            self._groups[group] = waiting
        metrics.queued.dec(count)
        return items

    def _run(self, group: _Group, items: list[_Item]) -> list[_Finished]:
        """Run a batch; return the jobs that it completes or fails."""
        items = [item for item in items if not item.job.over]
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
        for index, (job, place, _) in enumerate(items):
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
            self._pace[group.runtime] = (thread_time() - begun) / batch.nbytes
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
