"""How a server starts, takes up new artifacts, and stops, over all of its workers.

Workers agree through small files in a folder of the server's own: worker 1 writes `started` once
its models are loaded; `generation` tells when new artifacts were last asked for; each worker writes
the generation it has loaded to `worker-INDEX`.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from serving.http.middleware import Middleware
from serving.problems import RequestError

POLL_SECONDS = 0.2
"""Seconds between two looks."""
MAX_RETRY_SECONDS = 30.0
"""Seconds until what could not be loaded is tried again; twice as long each time, up to this."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask a worker to end."""
STOPPING = RequestError("server-stopping", "the server is stopping; what it took on it answers.")

log = logging.getLogger("bentoml.vitrine")


class WorkerGroup:
    """What the workers of one server tell each other.

    Args:
        folder: of this server alone.
        index: of this worker, from 1.
        workers: how many there are.
    """

    def __init__(self, folder: Path, index: int, workers: int) -> None:
        self._folder = folder
        self._index = index
        self._workers = workers

    @property
    def first(self) -> bool:
        """Whether this worker is the one to answer while none has its models."""
        return self._index == 1 and not self._started.exists()

    def wait_for_first(self) -> None:
        """Until worker 1 has its models: it must be the last to say that the server is starting."""
        while self._index != 1 and not self._started.exists():
            time.sleep(POLL_SECONDS)

    def report_loaded(self, generation: int) -> None:
        """Tell that this worker has the artifacts of a generation."""
        _write(self._folder / f"worker-{self._index}", generation)
        if self._index == 1:
            self._started.touch()

    def requested_generation(self) -> int:
        """Which artifacts are asked for."""
        return _read(self._folder / "generation")

    def request_generation(self) -> int:
        """Ask all workers to load what is there now."""
        generation = time.time_ns()
        _write(self._folder / "generation", generation)
        return generation

    def all_have(self, generation: int) -> bool:
        """Whether every worker has loaded a generation, or a later one."""
        numbers = range(1, self._workers + 1)
        return all(_read(self._folder / f"worker-{i}") >= generation for i in numbers)

    @property
    def _started(self) -> Path:
        return self._folder / "started"


class Lifecycle:
    """Starts and stops a worker.

    Args:
        workers: as above.
        middleware: that is let in and held off.
        load: loads the artifacts, warms them up and puts them in place; called in any thread.
    """

    def __init__(
        self, workers: WorkerGroup, middleware: Middleware, load: Callable[[], None]
    ) -> None:
        self.workers = workers
        self._middleware = middleware
        self._load = load
        self._loaded_generation = -1

    def start(self) -> None:
        """Load, and keep to what is asked for from then on.

        The first worker of a server loads while it answers that it is starting; all others are
        connected to only when they have their models.
        """
        if not self.workers.first:
            with _default_signal_handlers():
                self._load_if_requested()
                self.workers.wait_for_first()
        _drain_on_stop_signals(self._middleware)
        threading.Thread(
            target=self._keep_up_to_date, name="vitrine-artifacts", daemon=True
        ).start()

    async def reload(self) -> None:
        """Have all workers load what is there now; returns when all answer with it."""
        generation = self.workers.request_generation()
        while not self.workers.all_have(generation):  # noqa: ASYNC110 - they are processes
            await asyncio.sleep(POLL_SECONDS)

    def _keep_up_to_date(self) -> None:
        pause = POLL_SECONDS
        while True:
            try:
                self._load_if_requested()
                pause = POLL_SECONDS
            except Exception:
                pause = min(2 * pause, MAX_RETRY_SECONDS)
                log.exception("the artifacts could not be loaded")
                if self._loaded_generation < 0:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            time.sleep(pause)

    def _load_if_requested(self) -> None:
        generation = self.workers.requested_generation()
        if generation == self._loaded_generation:
            return
        self._load()
        if self._loaded_generation < 0 and self._middleware.closed is not STOPPING:
            self._middleware.closed = None
        self._loaded_generation = generation
        self.workers.report_loaded(generation)


@contextmanager
def _default_signal_handlers() -> Iterator[None]:
    """A worker that nobody is connected to has nothing to finish: SIGTERM need not wait for it."""
    before = [signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _drain_on_stop_signals(middleware: Middleware) -> None:
    """On SIGTERM refuse what is new and finish what was taken on; only then let uvicorn end."""
    loop = asyncio.get_running_loop()
    ends = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    async def drain(number: int) -> None:
        while middleware.in_flight:  # noqa: ASYNC110 - counted where an event would cost as much
            await asyncio.sleep(POLL_SECONDS / 4)
        end = ends[signal.Signals(number)]
        if callable(end):
            end(number, None)

    def stop(number: int, _: FrameType | None) -> None:
        if middleware.closed is not STOPPING:
            middleware.closed = STOPPING
            asyncio.run_coroutine_threadsafe(drain(number), loop)

    for number in ends:
        signal.signal(number, stop)


def _read(file: Path) -> int:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0 if file.name == "generation" else -1


def _write(file: Path, number: int) -> None:
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(str(number))
    fresh.replace(file)
