"""A lean load generator, which takes little time from the server on the same cores.

Each connection sends its next request when it has received the last answer (closed loop), over raw
asyncio protocols, HTTP/1.1 with keep-alive. Distinct answers are counted and checked after the
measurement, so that checking takes no time from the server.
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
"""Function of a request's index and the decoded answer to it: whether the answer is right."""


@dataclass(frozen=True)
class Load:
    """The results of one load on a server."""

    requests: int
    """Number of requests that were answered correctly within the measured time."""
    errors: int
    """Number of answers that are wrong or have another status than 200, and of lost connections."""
    seconds: float
    """Measured time."""
    p50: float
    """Median latency of all answers in ms."""
    p99: float
    """99th percentile of the latency of all answers in ms."""


def post(path: str, pictures: Sequence[bytes], field: str | None) -> bytes:
    """Return an HTTP request with pictures as form fields, or with one picture as the body."""
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
    """Sends one request after another until the run ends."""

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
        port: port of the server on 127.0.0.1.
        requests: complete HTTP requests, which are sent in turn.
        connections: number of connections, each with one request in flight.
        warm_up: seconds of load before the measurement.
        seconds: duration of the measurement.
        check: called for each distinct answer after the measurement.
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
    """Return a percentile of sorted seconds in ms, by nearest rank; NaN if there are none."""
    if not ordered:
        return math.nan
    return 1e3 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]
