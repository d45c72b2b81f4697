"""A lean load generator: it shares the cores with the server, so it must cost little.

Each connection sends the next request when it has read the last answer (closed loop), on raw
asyncio protocols, HTTP/1.1 with keep-alive. Answers are kept once each and checked after the
clock stopped, so checking takes no time from the server.
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvloop

BOUNDARY = b"vitrine-benchmark"
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
OK = b"HTTP/1.1 200 "

Check = Callable[[int, object], bool]
"""Whether a decoded answer to the request with that index is right."""


@dataclass(frozen=True)
class Load:
    """What one load did to a server."""

    requests: int
    """Answered rightly within the measured time."""
    errors: int
    """Answers that are no 200 or not right, and connections that broke."""
    seconds: float
    p50: float
    """Latency in ms, of all that were answered."""
    p99: float


def post(path: str, pictures: Sequence[bytes], field: str | None) -> bytes:
    """A whole HTTP request with pictures as form fields, or with one as the body."""
    if field is None:
        (body,) = pictures
        kind = b"image/jpeg"
    else:
        head = b'\r\n--%b\r\nContent-Disposition: form-data; name="%b"; filename="picture"\r\n'
        kind_line = b"Content-Type: image/jpeg\r\n\r\n"
        start = head % (BOUNDARY, field.encode()) + kind_line
        body = b"".join(start + picture for picture in pictures)[2:]
        body += b"\r\n--%b--\r\n" % BOUNDARY
        kind = b"multipart/form-data; boundary=" + BOUNDARY
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        % (path.encode(), kind, len(body))
    ) + body


class _Connection(asyncio.Protocol):
    """Sends one request after the other until the run stops."""

    def __init__(self, run: "_Run", place: int) -> None:
        self._run = run
        self._next = place
        self._data = bytearray()
        self._end = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._end < 0:
            head = self._data.find(HEAD_END)
            if head < 0:
                return
            lower = bytes(self._data[:head]).lower()
            length = int(lower.split(LENGTH, 1)[1].split(b"\r\n", 1)[0])
            self._body = head + len(HEAD_END)
            self._end = self._body + length
        if len(self._data) >= self._end:
            self._run.answered(
                self._sent, self._index, self._data.startswith(OK), bytes(self._data[self._body :])
            )
            self._data.clear()
            self._end = -1
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self._run.lost()

    def _send(self) -> None:
        if self._run.over:
            self._transport.close()
            return
        self._index = self._next % len(self._run.requests)
        self._next += self._run.connections
        self._sent = time.perf_counter()
        self._transport.write(self._run.requests[self._index])


class _Run:
    """The state that the connections of one run share."""

    def __init__(self, requests: Sequence[bytes], connections: int) -> None:
        self.requests = requests
        self.connections = connections
        self.over = False
        self.begin = math.inf
        self.latencies: list[float] = []
        self.answers: Counter[tuple[int, bytes]] = Counter()
        self.failed = 0
        self._open = connections
        self.closed = asyncio.get_running_loop().create_future()

    def answered(self, sent: float, index: int, ok: bool, body: bytes) -> None:
        now = time.perf_counter()
        if self.over or now < self.begin:
            return
        self.latencies.append(now - sent)
        if ok:
            self.answers[index, body] += 1
        else:
            self.failed += 1

    def lost(self) -> None:
        if not self.over:
            self.failed += 1
        self._open -= 1
        if not self._open:
            self.closed.set_result(None)


def drive(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    *,
    warm_up: float,
    seconds: float,
    check: Check,
) -> Load:
    """Load the server on a port of this machine.

    Args:
        port: of 127.0.0.1.
        requests: whole HTTP requests, sent in turn.
        connections: requests under way at once.
        warm_up: seconds before the clock starts.
        seconds: that are measured.
        check: is asked about each distinct answer, after the clock stopped.
    """

    async def run() -> _Run:
        state = _Run(requests, connections)
        loop = asyncio.get_running_loop()
        for place in range(connections):
            await loop.create_connection(partial(_Connection, state, place), "127.0.0.1", port)
        await asyncio.sleep(warm_up)
        state.begin = time.perf_counter()
        await asyncio.sleep(seconds)
        elapsed.append(time.perf_counter() - state.begin)
        state.over = True
        await asyncio.wait_for(state.closed, 60)
        return state

    elapsed: list[float] = []
    state = uvloop.run(run())
    wrong = sum(
        count for (index, body), count in state.answers.items() if not _right(check, index, body)
    )
    ordered = sorted(state.latencies)
    return Load(
        requests=sum(state.answers.values()) - wrong,
        errors=wrong + state.failed,
        seconds=elapsed[0],
        p50=percentile(ordered, 0.5),
        p99=percentile(ordered, 0.99),
    )


def _right(check: Check, index: int, body: bytes) -> bool:
    try:
        return check(index, json.loads(body))
    except (ValueError, LookupError, TypeError):
        return False


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted seconds, in ms, by nearest rank; NaN where there are none."""
    if not ordered:
        return math.nan
    return 1e3 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]
