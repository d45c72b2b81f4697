"""What signals do to a server: to its parent process, to its workers, and under load."""

import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import Server, start_server

CLASSIFY = "/v1/models/tiny/classify"
PICTURE = encoded(photograph(200, 200), "BMP")
"""120 kB, which does not fit one packet."""
CLIENTS = 8
SILENT = repr(httpx.RemoteProtocolError("Server disconnected without sending a response."))
"""What a client is told that needed longer than `LINGER_SECONDS` to send something on a connection
that it had opened, which happens on a busy machine. It is no reset."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tiny_artifact(tmp_path / "models", "tiny")
    server = start_server(tmp_path / "models", tmp_path / "log.txt")
    yield server
    if server.process.poll() is None:
        server.kill()


def workers(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def test_workers_end_with_their_parent(server: Server) -> None:
    orphans = workers(server)
    port = int(server.address.rpartition(":")[2])
    server.process.kill()
    server.process.wait()
    _, alive = psutil.wait_procs(orphans, 5)
    assert alive == []
    with socket.create_server(("127.0.0.1", port)):
        pass


def graphs_of(processes: list[psutil.Process]) -> list[set[str]]:
    """The inodes of the optimized graphs that each process has mapped."""
    maps = [Path(f"/proc/{each.pid}/maps").read_text() for each in processes]
    return [{line.split()[4] for line in lines.splitlines() if ".ort" in line} for lines in maps]


def test_killed_workers_are_replaced_soon(server: Server) -> None:
    before = workers(server)
    started = time.monotonic()
    while not all(graphs := graphs_of(before)):  # /readyz speaks for the worker that answers alone
        assert time.monotonic() < started + 20
        time.sleep(0.05)
    assert len(graphs[0]) == 1
    assert all(each == graphs[0] for each in graphs)
    for worker in before:
        worker.kill()
    killed = time.monotonic()
    psutil.wait_procs(before, 20)
    gone = {worker.pid for worker in before}
    while {worker.pid for worker in workers(server)} & gone or len(workers(server)) < len(before):
        assert time.monotonic() < killed + 5
        time.sleep(0.05)
    with httpx.Client(base_url=server.address, timeout=60) as http:
        assert http.get("/readyz").status_code == 200  # the kernel keeps it until a worker is there
        assert http.post(CLASSIFY, content=PICTURE).status_code == 200
    assert graphs[0] in graphs_of(workers(server))


class Load:
    """Clients that ask without a pause until nothing listens, and count what they get."""

    def __init__(self, address: str, *, keep_alive: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._address = address
        self._keep_alive = keep_alive
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def _ask(self) -> None:
        headers = {} if self._keep_alive else {"Connection": "close"}
        with httpx.Client(base_url=self._address, timeout=30, headers=headers) as http:
            while True:
                try:
                    answer = http.post(CLASSIFY, content=PICTURE)
                except httpx.ConnectError:
                    self.counts["refused"] += 1
                    return
                except httpx.TransportError as error:
                    self.counts[repr(error)] += 1
                else:
                    self.counts[str(answer.status_code)] += 1


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept", "closed"])
def test_a_stop_under_load_resets_nothing(server: Server, *, keep_alive: bool) -> None:
    load = Load(server.address, keep_alive=keep_alive)
    while load.counts["200"] < 100:
        assert server.process.poll() is None
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    load.join()
    assert load.counts["refused"] == CLIENTS
    assert set(load.counts) <= {"200", "503", "refused", SILENT}, load.counts
    assert load.counts[SILENT] <= 2, load.counts


def test_a_request_that_is_on_its_way_is_answered(server: Server) -> None:
    """On a connection that is open but idle, the server says that it stops."""
    host, port = server.address.removeprefix("http://").split(":")
    request_ = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(request_)
        whole = b""
        while not whole.endswith(b"}"):  # headers and body may come one after the other
            whole += client.recv(65536)
        assert whole.startswith(b"HTTP/1.1 200 ")
        for worker in workers(server):
            worker.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(request_)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer.lower()
    assert b"server-stopping" in answer
