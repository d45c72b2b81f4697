"""How the workers of a server start, load new artifacts, and stop.

The workers coordinate through small files in the server's folder. Worker 1 creates `started` once
its models are loaded. A request to load the artifacts again starts a new generation of them, whose
number is the count of these requests at all workers: each worker counts its own in
`requests-INDEX`. It writes the generation that it has loaded to `worker-INDEX`, and the generation
that it failed to load to `failed-INDEX`. No clock is compared, so that none has to be right.
"""

import asyncio
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from serving.http.middleware import Middleware
from serving.inference.watch import FolderWatch
from serving.problems import RequestError
from serving.run_folder import PARENT_FILE

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
POLL_SECONDS = 0.2
"""Time between two checks of these files, in seconds."""
WATCH_SECONDS = 1.0
"""Time between two checks of the folder of the artifacts, in seconds."""
MAX_RETRY_SECONDS = 30.0
"""Maximum time until a failed load is retried, in seconds; it doubles with each failure."""
MAX_REPAIR_SECONDS = 300.0
"""As `MAX_RETRY_SECONDS`, for single artifacts that could not be loaded: most of them are broken
for good, and reading a large one takes time."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask a worker to stop."""
STOPPING = RequestError(
    "server-stopping", "the server is stopping; try again once it has restarted."
)
RELOAD_FAILED = RequestError(
    "reload-failed",
    "a worker could not load the artifacts, and tries again; the models that were loaded before "
    "answer meanwhile. The server's log gives the reason.",
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
        self._numbers = range(1, workers + 1)
        self._requesting = threading.Lock()

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

    def report_failed(self, generation: int) -> None:
        """Record that this worker could not load the artifacts of a generation."""
        _write(self._folder / f"failed-{self._index}", generation)

    def requested_generation(self) -> int:
        """Return the generation that was requested last; 0 if there was no request."""
        return sum(self._counts("requests", 0))

    def request_generation(self) -> int:
        """Request that all workers load the present artifacts, and return the generation."""
        with self._requesting:
            own = self._folder / f"requests-{self._index}"
            _write(own, _read(own, 0) + 1)
        return self.requested_generation()

    def all_have(self, generation: int) -> bool:
        """Whether every worker has loaded this generation or a later one."""
        return min(self._counts("worker", -1)) >= generation

    def any_failed(self, generation: int) -> bool:
        """Whether a worker failed to load this generation or a later one, and has not since."""
        return any(
            generation <= failed > loaded
            for failed, loaded in zip(
                self._counts("failed", -1), self._counts("worker", -1), strict=True
            )
        )

    def _counts(self, kind: str, missing: int) -> list[int]:
        return [_read(self._folder / f"{kind}-{number}", missing) for number in self._numbers]

    @property
    def _started(self) -> Path:
        return self._folder / "started"


class Lifecycle:
    """Starts, reloads and stops a worker.

    Args:
        workers: the workers of the server.
        middleware: refuses requests until the models are loaded, and once the worker is stopping.
        load: loads the artifacts, warms them up and starts to serve them; called in any thread.
        watch: notices that the artifacts have changed; None if no one watches, or another worker.
        repair: tries to load those artifacts again that `load` could not, because the reason may
            have passed; returns whether none are left.
    """

    def __init__(
        self,
        workers: WorkerGroup,
        middleware: Middleware,
        load: Callable[[], None],
        watch: FolderWatch | None = None,
        repair: Callable[[], bool] = lambda: True,
    ) -> None:
        self.workers = workers
        self._middleware = middleware
        self._load = load
        self._watch = watch
        self._repair = repair
        self._loaded_generation = -1
        self._failed_generation = -1
        self._failure = ""
        self._pause = 0.0
        """Time until a failed load is retried, in seconds."""

    def start(self) -> None:
        """Load the artifacts, and from then on reload them when they change or on request.

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
        """Have all workers load the present artifacts; returns once all of them have.

        Raises:
            RequestError: a worker could not load them.
        """
        try:
            generation = self.workers.request_generation()
        except OSError as error:
            self._log_once(error, "the workers cannot be asked to load the artifacts")
            raise RELOAD_FAILED from error
        while not self.workers.all_have(generation):
            if self.workers.any_failed(generation):
                raise RELOAD_FAILED
            await asyncio.sleep(POLL_SECONDS)

    def _keep_up_to_date(self) -> None:
        next_load = next_check = next_repair = 0.0
        repair_pause = WATCH_SECONDS
        while True:
            now = time.monotonic()
            if now >= next_load or self.workers.requested_generation() != self._failed_generation:
                if not self._try_to_load():
                    return
                next_load = time.monotonic() + self._pause
            if self._watch is not None and now >= next_check:
                self._look_for_changes(self._watch)
                next_check = now + WATCH_SECONDS
            if now >= next_repair:
                repair_pause = min(2 * repair_pause, MAX_REPAIR_SECONDS)
                if self._is_repaired():
                    repair_pause = WATCH_SECONDS
                next_repair = time.monotonic() + repair_pause
            time.sleep(POLL_SECONDS)

    def _look_for_changes(self, watch: FolderWatch) -> None:
        try:
            if watch.changed():
                self.workers.request_generation()
        except OSError as error:
            self._log_once(error, "the folder of the models cannot be watched")

    def _is_repaired(self) -> bool:
        try:
            return self._repair()
        except Exception as error:  # noqa: BLE001 - whatever it is, the models that are loaded answer
            self._log_once(error, "the artifacts could not be loaded")
            return False

    def _try_to_load(self) -> bool:
        """Load the artifacts if that was requested; returns False if the worker ends instead."""
        generation = self.workers.requested_generation()
        try:
            self._load_if_requested()
            self._pause = 0.0
        except Exception as error:  # noqa: BLE001 - whatever it is, the models that are loaded answer
            self._pause = min(max(2 * self._pause, 2 * POLL_SECONDS), MAX_RETRY_SECONDS)
            self._failed_generation = generation
            with suppress(OSError):  # the disk of the server's folder is full
                self.workers.report_failed(generation)
            self._log_once(error, "the artifacts could not be loaded")
            if self._loaded_generation < 0:
                os.kill(os.getpid(), signal.SIGTERM)
                return False
        return True

    def _log_once(self, error: Exception, what: str) -> None:
        """Log an error unless it is the one that was logged last: retries would repeat it."""
        failure = f"{what}: {error!r}"
        if failure != self._failure:
            log.error("%s", what, exc_info=error)
        self._failure = failure

    def _load_if_requested(self) -> None:
        generation = self.workers.requested_generation()
        if generation == self._loaded_generation:
            return
        if self._watch is not None:
            self._watch.remember(unless_known=self._loaded_generation < 0)
        self._load()
        if self._loaded_generation < 0 and self._middleware.closed is not STOPPING:
            self._middleware.closed = None
        self.workers.report_loaded(generation)  # if its disk is full, this is tried again
        self._loaded_generation, self._failure = generation, ""


def end_with_parent(folder: Path) -> None:
    """Have this worker end when the process that started it ends, even by kill -9.

    It would otherwise go on answering, and keep the port from the next server. Works on Linux only.

    Args:
        folder: of the server, which holds the parent's process id.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(FileNotFoundError, PermissionError):
        parent = int((folder / PARENT_FILE).read_text(encoding="ascii"))
        try:
            os.kill(parent, 0)
        except ProcessLookupError:  # it had ended before the kernel was told
            os.kill(os.getpid(), signal.SIGKILL)


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


def _read(file: Path, missing: int) -> int:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return missing


def _write(file: Path, number: int) -> None:
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(str(number))
    fresh.replace(file)
