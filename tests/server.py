"""A real server on loopback, for all tests that need one."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.forks import ROOT, Fork, start

PRELOADED = "tests.preloaded_server"
SERVE = ("bentoml", "serve", "serving.service:Vitrine", "--host", "127.0.0.1")
"""The command of a server without its port, as arguments of `python -m`."""
WORKERS = int(os.environ.get("VITRINE_TEST_WORKERS", "2"))
"""Of every server; `make test-workers` runs all that asks servers with four."""


@dataclass(frozen=True)
class Server:
    """A server's address and its process, which leads a group of its own."""

    address: str
    process: subprocess.Popen[bytes] | Fork
    log: Path

    @contextmanager
    def only_worker(self, index: int) -> Iterator[None]:
        """Suspend all workers except one, which gets every connection that is opened now."""
        workers = psutil.Process(self.process.pid).children(recursive=True)
        others = [worker for i, worker in enumerate(workers) if i != index]
        assert len(workers) == WORKERS
        try:
            for other in others:
                other.suspend()
            yield
        finally:
            for other in others:
                other.resume()

    def kill(self) -> None:
        """End all processes immediately, as kill -9 does."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 20)
        self.process.wait()

    def stop(self) -> None:
        """Terminate the server, unless it has ended, and kill it after a while.

        The space that it has reserved for its database is free again.
        """
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        for reserve in self.log.parent.glob(".*.reserve"):
            reserve.unlink(missing_ok=True)


def free_port() -> int:
    """Return a port of this machine at which nothing listens.

    Below those that Linux gives to outgoing connections (32768 on): on a busy machine one of them
    would take the port in the seconds before the server does.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def start_server(models: Path, log: Path, until: str = "/readyz", **environment: str) -> Server:
    """Serve the artifacts under `models` with several workers, as `bentoml serve` does.

    Everything the server prints goes to the file `log`. It counts as up when the address `until`
    answers 200. `environment` adds to this process's.
    """
    environment = environment_of(models, log, **environment)
    port = str(free_port())
    command = [*SERVE, "--port", port]
    log.unlink(missing_ok=True)
    process = start(PRELOADED, command, ROOT, environment, [log], session=True)
    return _up(Server(f"http://127.0.0.1:{port}", process, log), until)


def environment_of(models: Path, log: Path, **environment: str) -> dict[str, str]:
    """The environment of a server; `environment` adds to it."""
    return {
        # a server has a folder of its own, as this process has if it imports one's modules
        **{name: v for name, v in os.environ.items() if name != "VITRINE_RUN"},
        "VITRINE_ARTIFACTS": str(models),
        "VITRINE_WORKERS": str(WORKERS),
        "VITRINE_DATABASE": str(log.with_suffix(".sqlite3")),
        "BENTOML_DO_NOT_TRACK": "True",
        **environment,
    }


def launch(
    command: Sequence[str],
    log: Path,
    cwd: Path,
    environment: Mapping[str, str],
    until: str,
    host: str = "127.0.0.1",
) -> Server:
    """Run a command that serves at the `--port` it is given, and wait until it is up."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _up(Server(f"http://{host}:{port}", process, log), until)


@contextmanager
def running_server(
    models: Path, log: Path, until: str = "/readyz", **environment: str
) -> Iterator[str]:
    """As `start_server`; yields the address, and ends the server afterwards."""
    server = start_server(models, log, until, **environment)
    try:
        yield server.address
    finally:
        server.stop()


def _up(server: Server, until: str) -> Server:
    """The server, once it is up; if that fails, it is stopped."""
    try:
        _wait(server, until)
    except BaseException:
        server.stop()
        raise
    return server


def _wait(server: Server, until: str) -> None:
    deadline = time.monotonic() + 240  # a machine that is busy takes long
    with httpx.Client(timeout=5) as http:  # a new one for each try takes time from the server
        while time.monotonic() < deadline and server.process.poll() is None:
            with suppress(httpx.TransportError):
                if http.get(server.address + until).status_code == 200:
                    return
            time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{server.log.read_text()}")
