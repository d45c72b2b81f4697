"""The loads of `benchmarks.fairness`: clients that share a server, and requests at a rate."""

import asyncio
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load import HEAD_END, LENGTH, percentile

LIGHT_ADDRESS = "127.0.0.2"
"""Where requests come from, except those of heavy clients: a loopback address of Linux."""
SETTLE_SECONDS = 0.5
"""Time for a load to settle before it is measured, and for its queue to empty afterwards."""


class Connection:
    """One connection of a client, which sends a request and reads its answer.

    Args:
        port: of the server.
        address: that the connection comes from.
    """

    def __init__(self, port: int, address: str) -> None:
        self._port = port
        self._address = address

    async def open(self) -> None:
        """Connect to the server."""
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._address, 0), limit=1 << 20
        )

    async def ask(self, request: bytes) -> int:
        """Send a request; returns the status of its answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(HEAD_END)
        length = int(head.lower().split(LENGTH, 1)[1].split(b"\r\n", 1)[0])
        await self._reader.readexactly(length)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@dataclass
class Answers:
    """What one kind of client got within the measured time."""

    seconds: list[float] = field(default_factory=list)
    """Latencies of the answers with status 200."""
    statuses: Counter[int] = field(default_factory=Counter)

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        if status == 200:  # noqa: PLR2004
            self.seconds.append(seconds)

    def ms(self, share: float) -> float:
        """Return a percentile of the latencies, in ms."""
        return percentile(sorted(self.seconds), share)


def with_header(request: bytes, header: str) -> bytes:
    """Return a request with one more header."""
    line, rest = request.split(b"\r\n", 1)
    return line + b"\r\n" + header.encode() + b"\r\n" + rest


async def mixed(
    port: int,
    small: Sequence[bytes],
    large: Sequence[bytes],
    heavy: Sequence[str],
    pause: float,
    seconds: float,
) -> tuple[Answers, Answers, float]:
    """Send small requests with pauses between them, and large ones without.

    Args:
        port: of the server.
        small: requests of the light client, in turn.
        large: requests of the heavy clients, in turn.
        heavy: addresses of the heavy clients.
        pause: seconds between an answer to the light client and its next request.
        seconds: measured time.

    Returns:
        What the light client and the heavy ones got, and the pictures per second of all together.
    """
    got = Answers(), Answers()
    begin = time.perf_counter() + SETTLE_SECONDS
    end = begin + seconds

    async def client(address: str, requests: Sequence[bytes], pause: float, found: Answers) -> None:
        connection = Connection(port, address)
        await connection.open()
        place = 0
        while (sent := time.perf_counter()) < end:
            status = await connection.ask(requests[place % len(requests)])
            if begin <= sent and time.perf_counter() < end:
                found.add(status, time.perf_counter() - sent)
            place += 1
            await asyncio.sleep(pause)
        connection.close()

    async def count() -> float:
        await asyncio.sleep(begin - time.perf_counter())
        before = await asyncio.to_thread(pictures_computed, port)
        asked = time.perf_counter()
        await asyncio.sleep(end - time.perf_counter())
        after = await asyncio.to_thread(pictures_computed, port)
        return (after - before) / (time.perf_counter() - asked)

    counting = asyncio.create_task(count())
    await asyncio.gather(
        client(LIGHT_ADDRESS, small, pause, got[0]),
        *(client(address, large, 0.0, got[1]) for address in heavy),
    )
    return *got, await counting


async def offered(
    port: int, requests: Sequence[bytes], rate: float, connections: int, seconds: float
) -> Answers:
    """Send requests at a rate, whether or not the earlier ones have been answered.

    Latencies count from when a request should have been sent, so that a connection that is not
    free yet counts as waiting.
    """
    found = Answers()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        connection = Connection(port, LIGHT_ADDRESS)
        await connection.open()
        free.put_nowait(connection)
    begin = time.perf_counter()

    async def ask(place: int, due: float) -> None:
        connection = await free.get()
        status = await connection.ask(requests[place % len(requests)])
        free.put_nowait(connection)
        if due >= begin + SETTLE_SECONDS:
            found.add(status, time.perf_counter() - due)

    tasks = []
    for place in range(int(rate * (SETTLE_SECONDS + seconds))):
        due = begin + place / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(place, due)))
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait().close()
    return found


async def capacity(
    port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> Answers:
    """Send requests one after the other over several connections."""
    found = Answers()
    begin = time.perf_counter() + SETTLE_SECONDS
    end = begin + seconds

    async def client(place: int) -> None:
        connection = Connection(port, LIGHT_ADDRESS)
        await connection.open()
        while (sent := time.perf_counter()) < end:
            status = await connection.ask(requests[place % len(requests)])
            if begin <= time.perf_counter() < end:
                found.add(status, time.perf_counter() - sent)
            place += 1
        connection.close()

    await asyncio.gather(*(client(place) for place in range(connections)))
    return found


def pictures_computed(port: int) -> float:
    """Return how many pictures the server's batches had so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
        text = page.read().decode()
    return sum(map(float, re.findall(r"^vitrine_batch_pictures_sum\S* (\S+)$", text, re.MULTILINE)))
