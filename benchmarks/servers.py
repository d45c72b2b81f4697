"""Starts and stops the servers that are compared."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import psutil

from artifacts import Artifact, VitrineError
from artifacts.provenance import cores

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
START_TIMEOUT = 180  # seconds


class Setting(NamedTuple):
    """A server with a number of workers and of runtime threads in each; 0 means its default."""

    server: str
    workers: int = 0
    threads: int = 0
    batch: int = 0
    """Number of pictures that BentoML or LitServe run together at most; 0 runs them one by one."""

    @property
    def name(self) -> str:
        """Name in the tables."""
        size = f"{self.workers} x {self.threads}" if self.workers else "default"
        return f"{self.server}, {size}" + (f", batches of {self.batch}" if self.batch else "")


class Provider(NamedTuple):
    """What runs the graph in the peers: an execution provider of ONNX Runtime with its options."""

    name: str = "CPUExecutionProvider"
    options: Mapping[str, str] = MappingProxyType({})


def settings() -> list[Setting]:
    """Return every server with its defaults, and with settings that may be better for it."""
    tuned = sorted({(1, 1), (cores(), 1)})
    peers = [
        Setting(peer, *setting)
        for peer in ("FastAPI", "BentoML", "LitServe")
        for setting in ((0, 0), *tuned)
    ]
    # by default, Vitrine has a worker for each core, so that this setting is left out
    return [Setting("Vitrine"), Setting("Vitrine", 1, 1), *peers]


class Running(NamedTuple):
    """A running server."""

    port: int
    process: psutil.Process

    def family(self) -> list[psutil.Process]:
        """Return all processes of the server."""
        return [self.process, *self.process.children(recursive=True)]

    def reset_peak(self) -> None:
        """Reset the peak memory of all processes (Linux; see clear_refs in proc(5))."""
        for process in self.family():
            with suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")

    def peak_mb(self) -> float:
        """Return the sum of the peak resident memory of all processes, shared pages included."""
        total = 0
        for process in self.family():
            with suppress(OSError, IndexError):  # a process that has ended states no memory
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                total += int(status.split("VmHWM:")[1].split()[0])
        return total / 1e3


@contextmanager
def running(
    setting: Setting,
    artifact: Artifact,
    folder: Path,
    provider: Provider = Provider(),  # noqa: B008 - it cannot change
    seconds: float = START_TIMEOUT,
) -> Iterator[Running]:
    """Start a server with one model, and stop all its processes at the end.

    Args:
        setting: the server and its setting.
        artifact: the model.
        folder: folder for files and the log. Its `models/` contains only this artifact.
        provider: what runs the graph in the peers; Vitrine chooses it itself.
        seconds: time that the start may take.

    Raises:
        VitrineError: the server does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            _command(setting, port),
            cwd=ROOT,
            env={**os.environ, **_environment(setting, artifact, folder, provider)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Running(port, psutil.Process(process.pid))
    try:
        wait_until_ready(server, log, seconds)
        yield server
    finally:
        family = server.family() if process.poll() is None else []
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        _, left = psutil.wait_procs(family, 10)
        for each in left:
            each.kill()
        process.wait()


def _command(setting: Setting, port: int) -> list[str]:
    workers = str(setting.workers or 1)
    address = ["--host", "127.0.0.1", "--port", str(port)]
    if setting.server == "Vitrine":
        return [str(BIN / "bentoml"), "serve", "serving.service:Vitrine", *address]
    if setting.server == "BentoML":
        return [str(BIN / "bentoml"), "serve", "benchmarks.peers.bentoml_service:Peer", *address]
    if setting.server == "FastAPI":
        app = "benchmarks.peers.fastapi_server:app"
        return [str(BIN / "uvicorn"), app, *address, "--no-access-log", "--workers", workers]
    return [sys.executable, "-m", "benchmarks.peers.litserve_server", str(port), workers]


def _environment(
    setting: Setting, artifact: Artifact, folder: Path, provider: Provider
) -> Mapping[str, str]:
    size = artifact.manifest.input.fixed_size
    workers = str(setting.workers) if setting.workers else ""
    return {
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(folder / "models"),
        "VITRINE_DATABASE": str(folder / "gallery.sqlite3"),
        "VITRINE_WORKERS": workers,
        "BENCHMARK_MODEL": str(artifact.model_path),
        "BENCHMARK_SIZE": "" if size is None else str(size[0]),
        "BENCHMARK_THREADS": str(setting.threads),
        "BENCHMARK_WORKERS": workers,
        "BENCHMARK_BATCH": str(setting.batch),
        "BENCHMARK_PROVIDER": json.dumps([provider.name, dict(provider.options)]),
    }


def wait_until_ready(server: Running, log: Path, seconds: float = START_TIMEOUT) -> None:
    """Wait until the server is ready, and until all its workers had time to open the model."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.process.is_running():
        if server.process.status() == psutil.STATUS_ZOMBIE:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1) as probe:
            probe.settimeout(5)
            probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            # peers have no such page and answer with 404 when they are ready
            if probe.recv(12)[9:12] in {b"200", b"404"}:
                time.sleep(2)
                return
        time.sleep(0.3)
    tail = log.read_text(errors="replace")[-2000:]
    raise VitrineError(f"the server did not start within {seconds:.0f} s: {tail}")


@contextmanager
def vitrine(
    artifacts: Sequence[Artifact],
    service: str = "serving.service:Vitrine",
    without: str = "",
    checkout: Path = ROOT,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start this project's server; it is stopped with all its processes.

    Args:
        artifacts: models to serve.
        service: what `bentoml serve` is to start.
        without: optimizations to switch off, for `benchmarks.tricks_service`.
        checkout: folder of the project's code.
        settings: further variables of the server's environment.

    Raises:
        VitrineError: the server does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for artifact in artifacts:
            shutil.copytree(artifact.path, root / "models" / artifact.manifest.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        address = ["--host", "127.0.0.1", "--port", str(port)]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "bentoml", "serve", service, *address],
                cwd=checkout,
                env={
                    **os.environ,
                    "BENTOML_DO_NOT_TRACK": "True",
                    "PYTHONPATH": str(checkout),
                    "BENCHMARK_WITHOUT": without,
                    "VITRINE_ARTIFACTS": str(root / "models"),
                    "VITRINE_DATABASE": str(root / "gallery.sqlite3"),
                    **(settings or {}),
                },
                stdout=log,
                stderr=log,
            )
        try:
            server = Running(port, psutil.Process(process.pid))
            wait_until_ready(server, root / "log")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
