import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
import pytest

from artifacts import VitrineError
from serving.client import AsyncClient, Client, chunks
from serving.client.calls import ATTEMPTS
from serving.client.chunks import ServerError
from serving.client.connection import retry_delay
from serving.problems import RequestError
from tests.pictures import encoded, photograph
from tests.serving.client.conftest import opened

PICTURE = encoded(photograph(16, 16))
MODELS = {"models": [], "unavailable": [], "defaults": {}}


class Busy(ThreadingHTTPServer):
    """A server that is busy for its first requests, and counts what comes."""

    def __init__(self, refusals: int, status: int, retry_after: str | None) -> None:
        self.refusals, self.status, self.retry_after = refusals, status, retry_after
        self.requests = 0
        self.connections: set[int] = set()
        self.keys: list[str | None] = []
        super().__init__(("127.0.0.1", 0), BusyHandler)


class BusyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Busy

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.do_GET()

    def do_POST(self) -> None:
        self.do_PUT()

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.connections.add(self.client_address[1])
        busy = self.server.requests <= self.server.refusals
        body = b"busy" if busy else json.dumps(MODELS).encode()
        self.send_response(self.server.status if busy else 200)
        if busy and self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output free of it."""


@contextmanager
def busy(refusals: int, status: int, retry_after: str | None) -> Iterator[tuple[Busy, str]]:
    with Busy(refusals, status, retry_after) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ask(kind: str, url: str) -> object:
    if kind == "sync":
        with Client(url) as client:
            return client.models()

    async def models() -> object:
        async with AsyncClient(url) as client:
            return await client.models()

    return asyncio.run(models())


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_on_the_same_connection(kind: str, status: int) -> None:
    with busy(3, status, "0") as (server, url):
        assert ask(kind, url) == []
        assert server.requests == 4
        assert len(server.connections) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_server_that_stays_busy_is_given_up(kind: str) -> None:
    with busy(100, 429, "0") as (server, url):
        with pytest.raises(ServerError, match="status 429"):
            ask(kind, url)
        assert server.requests == ATTEMPTS


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_attempt_to_enrol_has_the_same_key(kind: str) -> None:
    with busy(100, 429, "0") as (server, url), opened(kind, url) as client:
        for _ in range(2):
            with pytest.raises(ServerError, match="status 429"):
                client.enrol("ada", [PICTURE])
        first, second = server.keys[:ATTEMPTS], server.keys[ATTEMPTS:]
        assert len(first) == len(second) == ATTEMPTS
        assert None not in first
        assert len(set(first)) == len(set(second)) == 1
        assert first[0] != second[0]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_import_is_sent_once(kind: str, tmp_path: Path) -> None:
    (tmp_path / "gallery.parquet").write_bytes(b"content")
    with busy(100, 429, "0") as (server, url), opened(kind, url) as client:
        with pytest.raises(ServerError, match="status 429"):
            client.import_gallery(tmp_path / "gallery.parquet")
        assert server.requests == 1


@pytest.mark.parametrize(("status", "retry_after"), [(500, "0"), (503, None), (429, "3600")])
def test_what_will_not_pass_is_not_asked_again(status: int, retry_after: str | None) -> None:
    with busy(100, status, retry_after) as (server, url):
        with pytest.raises(ServerError):
            ask("sync", url)
        assert server.requests == 1


def test_clients_do_not_come_back_together() -> None:
    waits = {retry_delay(httpx.Response(429, headers={"Retry-After": "4"})) for _ in range(20)}
    assert len(waits) > 1
    assert all(wait is not None and 4 <= wait <= 5 for wait in waits)


def test_awaited_answers_are_those_of_the_client(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 3)
    sent = [encoded(photograph(20 + i, 30, i)) for i in range(8)]

    async def asked() -> tuple[object, ...]:
        async with AsyncClient(url, concurrency=2) as client:
            return (
                await client.model_info("tiny"),
                await client.classify("tiny", sent, top=2),
                await client.features("tiny", sent),
                await client.inspect("tiny", sent),
            )

    info, classified, features, inspected = asyncio.run(asked())
    with Client(url) as client:
        assert info == client.model_info("tiny")
        assert classified == client.classify("tiny", sent, top=2)
        np.testing.assert_allclose(features, client.features("tiny", sent), rtol=1e-5, atol=1e-6)
        assert inspected == client.inspect("tiny", sent)


def test_awaited_refusals_name_the_picture(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 3)

    async def classify(sent: list[bytes]) -> None:
        async with AsyncClient(url) as client:
            await client.classify("tiny", sent)

    with pytest.raises(RequestError) as caught:
        asyncio.run(classify([encoded(photograph(32, 32))] * 4 + [b"junk"]))
    assert (caught.value.code, caught.value.picture) == ("unsupported-format", 4)
    with pytest.raises(VitrineError, match="no picture was given"):
        asyncio.run(classify([]))
