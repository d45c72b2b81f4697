"""Clients that violate HTTP or are too slow: raw bytes on a socket."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from serving.http.patches import MAX_HEADER_BYTES
from serving.pictures.limits import MAX_PICTURES
from serving.schemas import NDJSON
from tests.archives import ZIP, make_zip
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import Server, start_server
from tests.serving.http.test_middleware import wait_for

PATH = "/v1/models/tiny/classify"
PICTURE = encoded(photograph(40, 30))
SECONDS = 3
"""That the server of these tests gives a request."""
CLASSES = 2000
"""Of a model whose answers to 1,000 pictures are larger than the buffers of any connection."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("connections")
    tiny_artifact(root / "models", "tiny")
    tiny_artifact(root / "models", "many", classes=tuple(map(str, range(CLASSES))))
    server = start_server(root / "models", root / "log.txt", VITRINE_TIMEOUT=str(SECONDS))
    yield server
    server.stop()


def connect(server: Server) -> socket.socket:
    host, port = server.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def answer(server: Server, *pieces: bytes) -> bytes:
    """Return what the server sends, up to the end of the first answer or the connection."""
    with connect(server) as client:
        with suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
        received = b""
        with suppress(ConnectionError):
            while b"\r\n\r\n" not in received:
                piece = client.recv(65536)
                if not piece:
                    break
                received += piece
        return received


def head(*lines: str, path: str = PATH) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (head(f"Content-Length: {len(PICTURE)}") + PICTURE, {200}),
        (head(f"Content-Length: {len(PICTURE) // 2}") + PICTURE, {400, 422}),
        (head("Content-Length: 99") + b"abc", {408}),
        (head("Content-Length: 99999999999999") + b"abc", {413}),
        (head("Content-Length: " + "9" * 400), {400, 413}),
        (head("Content-Length: -1"), {400}),
        (head("Content-Length: 3", "Content-Length: 4") + b"abcd", {400}),
        (head("Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", {400}),
        (head("Transfer-Encoding: chunked") + b"zz\r\nabc", {400}),
        (head("Transfer-Encoding: chunked") + b"3\r\nab", {408}),
        (head("Transfer-Encoding: chunked") + b"f" * 40 + b"\r\n", {400}),
        (head("Transfer-Encoding: gzip") + b"abc", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), {400}),
        (b"GET / HTTP/9.9\r\n\r\n", {400}),
        (b"\r\n" * 100 + b"nonsense\r\n\r\n", {400}),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", {200, 400}),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nNul: a\0b\r\n\r\n", {400}),
        (
            b"GET /docs HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            {200, 400},
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404, 405}),
        (head("Expect: 100-continue", f"Content-Length: {len(PICTURE)}") + PICTURE, {100, 200}),
    ],
)
def test_what_is_no_http_gets_a_client_error(
    server: Server, request_: bytes, statuses: set[int]
) -> None:
    received = answer(server, request_)
    assert received.startswith(b"HTTP/1.1 ")
    assert int(received[9:12]) in statuses
    assert httpx.get(server.address + "/readyz").status_code == 200


def test_a_body_that_does_not_come_is_given_up(server: Server) -> None:
    with connect(server) as client:
        client.sendall(head("Content-Length: 9") + b"abc")
        answer = b""
        with suppress(ConnectionError):
            while piece := client.recv(65536):
                answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request-too-slow" in answer
    with httpx.Client(base_url=server.address, timeout=60) as http:
        wait_for(http, "vitrine_requests_under_way", 1)


def test_headers_without_end_are_cut_off(server: Server) -> None:
    """Without a limit they would fill the memory."""
    sent = 0
    with connect(server) as client, suppress(ConnectionError, TimeoutError):
        client.settimeout(10)
        client.sendall(b"GET /livez HTTP/1.1\r\n")
        while sent < 50_000_000:
            client.sendall(b"A: " + b"b" * 10_000 + b"\r\n")
            sent += 10_000
    assert sent < 20_000_000


@pytest.mark.parametrize("size", [66_000, 90_000, 120_000, 200_000])
@pytest.mark.parametrize("number", [1, 30])
def test_large_headers_in_one_packet_are_refused(server: Server, size: int, number: int) -> None:
    value = "b" * (size // number)
    large = head(*(f"A{i}: {value}" for i in range(number)), path="/livez")
    large = large.replace(b"POST", b"GET", 1)
    assert answer(server, large).startswith(b"HTTP/1.1 400 ")
    assert answer(server, large[: size // 2], large[size // 2 :]).startswith(b"HTTP/1.1 400 ")


def test_headers_up_to_the_limit_are_accepted(server: Server) -> None:
    for lines, status in (
        ([f"A: {'b' * 65_000}"], b"200"),
        ([f"A{i}: b" for i in range(190)], b"200"),
        ([f"A{i}: b" for i in range(300)], b"400"),
    ):
        request_ = head(*lines, path="/livez").replace(b"POST", b"GET", 1)
        assert answer(server, request_).startswith(b"HTTP/1.1 " + status)


def test_a_body_does_not_count_as_headers_of_the_next_request(server: Server) -> None:
    """Of two requests in one packet, the second of which is not complete."""
    large = encoded(photograph(300, 300), "BMP")
    assert len(large) > MAX_HEADER_BYTES
    with connect(server) as client:
        client.sendall(head(f"Content-Length: {len(large)}") + large + b"GET /livez HT")
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 ")
        client.sendall(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while piece := client.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200 ") == 2


def test_slow_clients_are_cut_off_and_hold_up_nobody(server: Server) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(300)]
        for number, client in enumerate(idle):
            if number % 3:
                client.sendall(b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nA")
        assert httpx.post(server.address + PATH, content=PICTURE, timeout=30).status_code == 200
        deadline = time.monotonic() + 20 * SECONDS
        for client in idle:
            client.settimeout(max(0.1, deadline - time.monotonic()))
            with suppress(ConnectionError):
                while client.recv(65536):
                    pass
    assert httpx.post(server.address + PATH, content=PICTURE).status_code == 200


@pytest.mark.parametrize("leaves", [True, False])
def test_lines_that_nobody_reads_stop_the_work(server: Server, *, leaves: bool) -> None:
    """The client leaves, or it stays and reads no further: then it is cut off in the end."""
    body = make_zip({f"{number}.png": PICTURE for number in range(MAX_PICTURES)})
    lines = [f"Content-Length: {len(body)}", f"Content-Type: {ZIP}", f"Accept: {NDJSON}"]
    path = f"/v1/models/many/classify?top={CLASSES}"
    with httpx.Client(base_url=server.address, timeout=60) as http:
        before = pictures_of(http, "many")
        with connect(server) as client:
            client.sendall(head(*lines, path=path) + body)
            received = b""
            while b'{"index":0' not in received:
                received += client.recv(4096)
            if not leaves:
                wait_for(http, "vitrine_requests_under_way", 1)
        wait_for(http, "vitrine_requests_under_way", 1)
        assert 0 < pictures_of(http, "many") - before < MAX_PICTURES
    assert "Traceback" not in server.log.read_text()


def pictures_of(http: httpx.Client, model: str) -> float:
    """Return how many pictures the server has taken on for a model."""
    lines = http.get("/metrics").text.splitlines()
    name = f'vitrine_pictures_total{{model="{model}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))
