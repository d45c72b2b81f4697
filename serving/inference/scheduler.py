"""Runs pictures of many requests together: those of one shape share a batch.

There is no timer: whenever a lane is free, it takes what is queued with the shape of the picture
that waits longest. An idle server answers at once; a busy one batches what came meanwhile.

A lane is a thread. It hands answers over together, after some milliseconds or when nothing waits
any more: written one by one, and as many requests read, each would find the caches of the processor
full of the network. To hand a picture over to a lane and its answer back takes about as long as the
smallest networks do: where there is but one lane, those are run on the event loop's own thread.
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

from artifacts.runtime import Outputs, Picture, Runtime
from serving.inference.in_flight import InFlight
from serving.observability import metrics, tracing

CPU_BATCH_BYTES = 128 * 1024
"""42 pictures of 32 px, or one of 224 px. On a CPU a batch saves the overhead of calls, which are
dear beside small pictures; beyond that its feature maps leave the caches, and it gets slower."""
GPU_BATCH_BYTES = 64 * 1024 * 1024

QUICK = 0.003
"""Seconds that a batch may hold the event loop up."""
WORTH = 0.001
"""Seconds from which on a batch is spread over all cores, where one request has them all."""
TURN = 0.012
"""Seconds after which a lane hands over its answers, once the batch that runs is done."""

Row = dict[str, npt.NDArray[np.float32]]


class _Group(NamedTuple):
    """What may share a batch."""

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
    over: bool = False
    """Failed, or cancelled: what is queued of it is not run any more."""
    queued: float = field(default_factory=perf_counter)
    begun: float = 0.0
    """When its first picture was taken; as `queued`, a reading of `perf_counter`."""


class _Item(NamedTuple):
    """One picture of a job."""

    job: _Job
    place: int
    picture: Picture


_Done = tuple[_Job, Exception | None]


class Scheduler:
    """Batches pictures by model and shape, and runs the batches on its own threads.

    One for the process, because the models share its cores.

    Args:
        lanes: batches that run at once.
    """

    in_flight: InFlight | None = None
    """Of all workers of the server; without it no request counts as alone."""

    def __init__(self, lanes: int) -> None:
        self._groups: dict[_Group, deque[_Item]] = {}  # in the order of their oldest picture
        self._changed = Condition()
        self._closed = False
        self._pace: WeakKeyDictionary[Runtime, float] = WeakKeyDictionary()
        """Seconds of processor time for a byte of pictures, as a model's last batch took."""
        self._alone = lanes == 1
        self._threads = [
            Thread(target=self._lane, name=f"vitrine-lane-{index}", daemon=True)
            for index in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Pictures that wait for a lane."""
        with self._changed:
            return sum(len(items) for items in self._groups.values())

    async def run(
        self, runtime: Runtime, pictures: Sequence[Picture], names: Sequence[str]
    ) -> Outputs:
        """As `Runtime.run`, in batches shared with other requests; none of them waits for company.

        A failure of one picture fails this request alone: the others of its batch are run again,
        each by itself. A task that is cancelled takes its pictures out of the queue.

        Args:
            runtime: of a served model.
            pictures: prepared by it, at least one.
            names: outputs wanted.

        Raises:
            Exception: what ONNX Runtime raised for a picture of this request.
        """
        loop = asyncio.get_running_loop()
        job = _Job(loop, loop.create_future(), [{}] * len(pictures), len(pictures))
        if self.in_flight is not None:
            self.in_flight.enter()
        try:
            self._put(runtime, job, pictures, tuple(names))
            rows = await job.future
        except asyncio.CancelledError:
            self._drop(job)
            raise
        finally:
            if self.in_flight is not None:
                self.in_flight.leave()
        tracing.record("queue", job.queued, job.begun, queue="batch")
        tracing.record("inference", job.begun, perf_counter(), model=runtime.name)
        return {name: np.stack([row[name] for row in rows]) for name in names}

    def close(self) -> None:
        """End the threads, after what they run now."""
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
                here = self._at_once(group, picture.nbytes) > 0
                if here and group not in self._groups:
                    job.loop.call_soon(self._run_here, group)
                self._groups.setdefault(group, deque()).append(_Item(job, place, picture))
                if not here:
                    self._changed.notify(len(self._threads))
            metrics.queued.inc(len(pictures))

    def _drop(self, job: _Job) -> None:
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
            _deliver(self._turn())

    def _turn(self) -> list[_Done]:
        """Run what waits, longest first; what is done when the turn is over or nothing waits."""
        end = perf_counter() + TURN
        done: list[_Done] = []
        while True:
            with self._changed:
                if not self._groups:
                    return done
                group = next(iter(self._groups))  # of the picture that waits longest
                items = self._take(group)
            done += self._run(group, items)
            if perf_counter() > end:
                return done

    def _at_once(self, group: _Group, size: int) -> int:
        """Pictures of `size` bytes that the event loop may run in one batch; 0 leaves all to lanes.

        With several lanes, other cores would be idle meanwhile.
        """
        pace = self._pace.get(group.runtime)
        if pace is None or not self._alone or _on_gpu(group):
            return 0
        return int(QUICK / (pace * size))

    def _has_all_cores(self, group: _Group, size: int) -> bool:
        """Whether a batch of `size` bytes may take all cores, and would gain by it."""
        worth = group.runtime.spreads and self._pace.get(group.runtime, 0.0) * size >= WORTH
        return worth and self.in_flight is not None and self.in_flight.alone

    def _run_here(self, group: _Group) -> None:
        """Run a batch on the event loop's thread; what is left waits for other requests' turn."""
        with self._changed:
            if group not in self._groups:
                return  # a lane has taken it
            most = self._at_once(group, self._groups[group][0].picture.nbytes)
            items = self._take(group, max(1, most))
            left = group in self._groups
        if left:
            asyncio.get_running_loop().call_soon(self._run_here, group)
        _deliver(self._run(group, items))

    def _take(self, group: _Group, most: int | None = None) -> list[_Item]:
        """A batch of a group; what is left of it goes to the end of the line."""
        waiting = self._groups.pop(group)
        budget = GPU_BATCH_BYTES if _on_gpu(group) else CPU_BATCH_BYTES
        count = min(max(1, budget // waiting[0].picture.nbytes), most or len(waiting), len(waiting))
        items = [waiting.popleft() for _ in range(count)]
        if waiting:
            self._groups[group] = waiting
        metrics.queued.dec(count)
        return items

    def _run(self, group: _Group, items: list[_Item]) -> list[_Done]:
        """Run a batch; the requests that have all their answers by it, or cannot have them."""
        _note_start(group, items)
        items = [item for item in items if not item.job.over]
        if not items:
            return []
        try:
            outputs = self._outputs(group, np.stack([item.picture for item in items]))
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to who asked
            if len(items) == 1:
                items[0].job.over = True
                return [(items[0].job, error)]
            return [done for item in items for done in self._run(group, [item])]
        done: list[_Done] = []
        for index, (job, place, _) in enumerate(items):
            job.rows[place] = {name: outputs[name][index] for name in group.names}
            with self._changed:
                job.missing -= 1
                if not job.missing:
                    done.append((job, None))
        return done

    def _outputs(self, group: _Group, batch: Picture) -> Outputs:
        """Of a batch (N x H x W x 3); how long it took is noted."""
        spread = self._has_all_cores(group, batch.nbytes)
        begun = thread_time()
        outputs = group.runtime.run_batch(batch, group.names, spread=spread)
        if not spread:
            self._pace[group.runtime] = (thread_time() - begun) / batch.nbytes
        return outputs


def _note_start(group: _Group, items: list[_Item]) -> None:
    now = perf_counter()
    metrics.batch_wait.observe(now - items[0].job.queued)
    metrics.batches.labels(group.runtime.name).observe(len(items))
    for item in items:
        item.job.begun = item.job.begun or now


def _deliver(done: list[_Done]) -> None:
    """Wake the requests, with one call to each event loop that is another thread's."""

    def resolve(jobs: list[_Done]) -> None:
        for job, error in jobs:
            if job.future.done():
                continue
            if error is None:
                job.future.set_result(job.rows)
            else:
                job.future.set_exception(error)

    here = None
    with suppress(RuntimeError):  # a lane
        here = asyncio.get_running_loop()
    for loop in {job.loop for job, _ in done}:
        mine = [(job, error) for job, error in done if job.loop is loop]
        if loop is here:
            resolve(mine)
            continue
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(resolve, mine)


def _on_gpu(group: _Group) -> bool:
    return group.runtime.provider == "CUDAExecutionProvider"
