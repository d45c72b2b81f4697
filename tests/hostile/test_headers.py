"""What the headers of a request cost: 60 kB in any of them, whatever they hold."""

import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import Server, start_server

SIZE = 60_000
REQUESTS = 12
"""Per header and content, one after the other."""
MAX_SECONDS = 0.005
"""Processor time that a header may cost."""
PATHS = ("/v1/models/tiny/classify", "/v1/faces/verify", "/", "/v1/feedback")
NAMES = (
    "Accept",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Cookie",
    "Forwarded",
    "If-None-Match",
    "Origin",
    "Range",
    "Sec-Fetch-Site",
    "Traceparent",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Request-Id",
)
CONTENTS = {
    "semicolons": ";" * SIZE,
    "parameters": "multipart/form-data; boundary=x" + ";a=b" * (SIZE // 4),
    "quotes": "multipart/form-data; boundary=" + '";' * (SIZE // 2),
    "backslashes": 'multipart/form-data; boundary="' + "\\" * SIZE,
    "commas": "1," * (SIZE // 2),
    "addresses": "127.0.0.1," * (SIZE // 10),
    "digits": "1" * SIZE,
    "spaces": "a" + " " * (SIZE - 2) + "b",
    "ranges": "bytes=" + "0-1," * (SIZE // 4),
    "colons": "a:1" * (SIZE // 3),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("headers")
    tiny_artifact(root / "models", "tiny")
    face_artifact(root / "models")
    server = start_server(root / "models", root / "log.txt", VITRINE_WORKERS="1")
    yield server
    server.stop()


def cost(server: Server, http: httpx.Client, headers: dict[str, str], body: bytes) -> float:
    """Return the processor time that the worker takes for a request with these headers."""
    (worker,) = psutil.Process(server.process.pid).children()
    clock = (~worker.pid << 3) | 2  # as clock_getcpuclockid(3) makes it on Linux
    before = time.clock_gettime(clock)
    for number in range(REQUESTS):
        path = PATHS[number % len(PATHS)]
        http.request("GET" if path == "/" else "POST", path, headers=headers, content=body)
    return (time.clock_gettime(clock) - before) / REQUESTS


def test_no_header_costs_much(server: Server) -> None:
    picture = encoded(photograph(16, 16))
    expensive = {}
    with httpx.Client(base_url=server.address, timeout=60) as http:
        least = cost(server, http, {}, picture)
        for name in NAMES:
            for kind, value in CONTENTS.items():
                taken = cost(server, http, {name: value}, picture) - least
                if taken > MAX_SECONDS:
                    expensive[name, kind] = round(taken, 4)
    assert expensive == {}


def test_no_header_of_a_part_costs_much(server: Server) -> None:
    """A form may have 1,000 parts, each with headers of its own."""
    picture = encoded(photograph(16, 16))
    part = b"--x\r\nContent-Disposition: form-data; name=%d" + b";" * 4000
    parts = b"".join(part % number + b"\r\n\r\n\r\n" for number in range(900))
    body = parts + b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + picture
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with httpx.Client(base_url=server.address, timeout=60) as http:
        plain = cost(server, http, headers, b"-" * len(body))
        assert cost(server, http, headers, body + b"\r\n--x--") - plain < 0.05
