"""How the workers of a server start, load new artifacts, and stop.

The workers coordinate through small files in the server's folder. Worker 1 creates `started` once
its models are loaded; `generation` holds the time at which a reload was last requested; and each
worker writes the generation that it has loaded to `worker-INDEX`.
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
"""Time between two checks of these files, in seconds."""
MAX_RETRY_SECONDS = 30.0
"""Maximum time until a failed load is retried, in seconds; it doubles with each failure."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask a worker to stop."""
STOPPING = RequestError(
    "server-stopping", "the server is stopping; try again once it has restarted."
)

log = logging.getLogger("bentoml.vitrine")


class WorkerGroup:
    """The workers of one server, as seen by one of them.

    Args:
        folder: a folder that only this server uses.
        index: index of this worker, from 1.
        workers: number of workers.
    """

    def __init__(self, folder: Path, index: int, workers: int) -> None:
        self._folder = folder
        self._index = index
        self._workers = workers

    @property
    def first(self) -> bool:
        """Whether this is the worker that answers until the first models are loaded."""
        return self._index == 1 and not self._started.exists()

    def wait_for_first(self) -> None:
        """Wait until worker 1 has loaded its models.

        No other worker may answer while worker 1 still answers that the server is starting.
        """
        while self._index != 1 and not self._started.exists():
            time.sleep(POLL_SECONDS)

    def report_loaded(self, generation: int) -> None:
        """Record that this worker has loaded the artifacts of a generation."""
        _write(self._folder / f"worker-{self._index}", generation)
        if self._index == 1:
            self._started.touch()

    def requested_generation(self) -> int:
        """Return the generation that was requested last; 0 if there was no request."""
        return _read(self._folder / "generation")

    def request_generation(self) -> int:
        """Request that all workers load the present artifacts, and return the generation."""
        generation = time.time_ns()
        _write(self._folder / "generation", generation)
        return generation

    def all_have(self, generation: int) -> bool:
        """Whether every worker has loaded this generation or a later one."""
        numbers = range(1, self._workers + 1)
        return all(_read(self._folder / f"worker-{i}") >= generation for i in numbers)

    @property
    def _started(self) -> Path:
        return self._folder / "started"


class Lifecycle:
    """Starts, reloads and stops a worker.

    Args:
        workers: the workers of the server.
        middleware: refuses requests until the models are loaded, and once the worker is stopping.
        load: loads the artifacts, warms them up and starts to serve them; called in any thread.
    """

    def __init__(
        self, workers: WorkerGroup, middleware: Middleware, load: Callable[[], None]
    ) -> None:
        self.workers = workers
        self._middleware = middleware
        self._load = load
        self._loaded_generation = -1

    def start(self) -> None:
        """Load the artifacts, and from then on reload them when that is requested.

        The first worker of a server answers that the server is starting while it loads. The others
        accept connections only once they have loaded.
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
        """Have all workers load the present artifacts; returns once all of them have."""
        generation = self.workers.request_generation()
        while not self.workers.all_have(generation):  # noqa: ASYNC110 - the workers are processes
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
    """Let a worker that accepts no connections yet be ended by signals at once."""
    before = [signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _drain_on_stop_signals(middleware: Middleware) -> None:
    """On a stop signal, refuse new requests and finish the others before uvicorn stops."""
    loop = asyncio.get_running_loop()
    ends = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    async def drain(number: int) -> None:
        while middleware.in_flight:  # noqa: ASYNC110 - cheaper than an event per request
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
