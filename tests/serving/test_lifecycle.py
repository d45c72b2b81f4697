"""A server that starts, and one that stops."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.graphs import tiny_artifact
from tests.pictures import bomb
from tests.server import start_server
from tests.serving.http.test_app import CLASSIFY, refused
from tests.serving.http.test_middleware import SMALL, metric


@pytest.fixture
def blocked_models(tmp_path: Path) -> Path:
    """A valid model, and one whose manifest is a pipe, so that reading it blocks."""
    tiny_artifact(tmp_path / "models", "tiny")
    (tmp_path / "models" / "waiting").mkdir()
    os.mkfifo(tmp_path / "models" / "waiting" / "manifest.json")
    return tmp_path


def test_it_stops_while_its_models_are_being_loaded(blocked_models: Path) -> None:
    server = start_server(blocked_models / "models", blocked_models / "log.txt", until="/livez")
    try:
        workers = psutil.Process(server.process.pid).children()
        while not all(_idle(worker) for worker in workers):
            pass
        server.process.terminate()
        assert server.process.wait(30) == 0
    finally:
        if server.process.poll() is None:
            server.kill()


def _idle(process: psutil.Process) -> bool:
    """Whether a process that loads models gets no further: it waits for the other end of a pipe."""
    before = process.cpu_times().user
    time.sleep(0.5)
    return process.cpu_times().user == before


def test_it_says_that_it_starts_and_stops_and_drops_nothing(blocked_models: Path) -> None:
    server = start_server(blocked_models / "models", blocked_models / "log.txt", until="/livez")
    try:
        with httpx.Client(base_url=server.address, timeout=60) as http:
            for _ in range(3):
                assert http.get("/readyz").status_code == 503
                early = http.post(CLASSIFY, content=SMALL)
                refused(early, "server-starting")
                assert "retry-after" in early.headers
            while http.get("/readyz").status_code != 200:
                with suppress(OSError):  # no worker reads it now
                    fifo = blocked_models / "models" / "waiting" / "manifest.json"
                    os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
                time.sleep(0.1)
        for _ in range(20):
            assert httpx.post(server.address + CLASSIFY, content=SMALL).status_code == 200
        files = [("image", ("picture", bomb(2048)))] * 5
        with ThreadPoolExecutor(6) as pool:
            taken = [
                pool.submit(httpx.post, server.address + CLASSIFY, files=files, timeout=120)
                for _ in range(6)
            ]
            with httpx.Client(base_url=server.address, timeout=60) as http:
                while metric(http, "vitrine_requests_under_way") < 7:
                    assert not all(future.done() for future in taken)
            server.process.send_signal(signal.SIGTERM)
            while server.process.poll() is None:
                with suppress(httpx.TransportError):
                    late = httpx.post(server.address + CLASSIFY, content=SMALL, timeout=5)
                    if late.status_code != 200:  # before the signal has arrived
                        refused(late, "server-stopping")
                time.sleep(0.05)
            assert [future.result().status_code for future in taken] == [200] * 6
        assert server.process.returncode == 0
    finally:
        if server.process.poll() is None:
            server.kill()


def test_a_worker_that_dies_in_a_container_is_started_again(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models", "tiny")
    server = start_server(tmp_path / "models", tmp_path / "log.txt", BENTOML_CONTAINERIZED="true")
    try:
        # which answers once every worker has loaded
        assert httpx.post(server.address + "/v1/models:reload", timeout=60).status_code == 200
        first, *others = psutil.Process(server.process.pid).children()
        first.kill()
        first.wait(10)
        while len(psutil.Process(server.process.pid).children()) <= len(others):
            time.sleep(0.1)
        with httpx.Client(base_url=server.address, timeout=60) as http:
            assert http.post(CLASSIFY, content=SMALL).status_code == 200
    finally:
        server.kill()
