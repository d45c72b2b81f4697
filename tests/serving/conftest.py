"""One real server for the session, on generated models."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.graphs import tiny_artifact

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts: two that work, one that is broken."""
    root = tmp_path_factory.mktemp("models")
    tiny_artifact(root, "tiny", route="cifar10", default=True)
    tiny_artifact(root, "other", route="cifar10", classes=("left", "right"))
    tiny_artifact(root, "broken")
    (root / "broken" / "model.onnx").write_bytes(b"not a graph")
    return root


@pytest.fixture(scope="session")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server with two workers; it is ended by its own process group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Vitrine"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env={
                **os.environ,
                "VITRINE_ARTIFACTS": str(models),
                "VITRINE_WORKERS": "2",
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, server, log)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client
