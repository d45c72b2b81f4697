"""What one client notices of others, and how much of an overload is answered in time.

    python -m benchmarks.fairness turns
    python -m benchmarks.fairness turns --checkout ../vitrine-before  # compares versions in one run
    python -m benchmarks.fairness overload

`turns` sends one picture now and then, alone and beside clients that send requests of 64 pictures
one after the other, from the same address or from others. `overload` measures how many requests are
answered when as many arrive as the server can take, and then twice as many, each with a deadline.
The client runs on the same cores as the server. Versions are measured in turns, each on a server
of its own, and the medians of the rounds are printed.
"""

import asyncio
import re
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click
import uvloop

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.load import HEAD_END, LENGTH, percentile
from benchmarks.pictures import CheckedRequests, make_pictures
from benchmarks.servers import ROOT, vitrine

LIGHT_ADDRESS, HEAVY_ADDRESS = "127.0.0.2", "127.0.0.3"
"""Loopback addresses of Linux: two machines, as far as the server can tell."""
EACH = 64
"""Pictures in a request of a heavy client."""
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


@click.group()
def main() -> None:
    """Measure how fair the server is, and what it does when too much is asked of it."""


def _requests(name: str, each: int) -> list[bytes]:
    artifact = Artifact.open(name)
    pictures = make_pictures(artifact, None, mixed=False)
    path = f"/v1/models/{name}/classify"
    return CheckedRequests(artifact, pictures, path, each, vitrine=True).requests


def _servers(stack: ExitStack, checkouts: Sequence[Path], model: str) -> Iterator[tuple[str, int]]:
    for checkout in (*checkouts, ROOT):
        server = vitrine([Artifact.open(model)], checkout=checkout.resolve())
        yield checkout.resolve().name, stack.enter_context(server).port


CHECKOUTS = click.option(
    "--checkout",
    "checkouts",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of the project to measure beside this one.",
)
MODEL = click.option("--model", default="cars-lite0-finetuned", show_default=True)
SECONDS = click.option("--seconds", default=4.0, show_default=True, help="Of a measurement.")
ROUNDS = click.option("--rounds", default=3, show_default=True)


@main.command()
@MODEL
@CHECKOUTS
@SECONDS
@ROUNDS
@click.option("--clients", default="1,8", show_default=True, help="Numbers of heavy clients.")
@click.option("--pause", default=0.05, show_default=True, help="Of the light client, in seconds.")
def turns(
    model: str, checkouts: tuple[Path, ...], seconds: float, rounds: int, clients: str, pause: float
) -> None:
    """Measure a client that sends one picture now and then, beside others that send many."""
    small, large = _requests(model, 1), _requests(model, EACH)
    kinds: dict[str, list[str]] = {"alone": []}
    for number in map(int, clients.split(",")):
        kinds[f"beside {number} of the same address"] = [LIGHT_ADDRESS] * number
        kinds[f"beside {number} of another address"] = [HEAVY_ADDRESS] * number
        kinds[f"beside {number} of {number} addresses"] = [
            f"127.0.1.{i + 1}" for i in range(number)
        ]
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with ExitStack() as stack:
        servers = list(_servers(stack, checkouts, model))
        for _ in range(rounds):
            for kind, heavy in kinds.items():
                for name, port in servers:
                    light, others, rate = uvloop.run(
                        mixed(port, small, large, heavy, pause, seconds)
                    )
                    _check(light, others)
                    row = (light.ms(0.5), light.ms(0.99), rate)
                    rows.setdefault((name, kind), []).append(row)
    click.echo(f"{hardware()}; {model}; medians of {rounds} rounds of {seconds:g} s\n")
    click.echo("| checkout | the light client | p50, ms | p99, ms | pictures/s of all |")
    click.echo("| --- | --- | --- | --- | --- |")
    for (name, kind), found in rows.items():
        p50, p99, rate = (statistics.median(column) for column in zip(*found, strict=True))
        click.echo(f"| {name} | {kind} | {p50:.1f} | {p99:.1f} | {rate:.0f} |")


@main.command()
@MODEL
@CHECKOUTS
@SECONDS
@ROUNDS
@click.option("--deadline", default=0.5, show_default=True, help="Of a request, in seconds.")
@click.option("--connections", default=256, show_default=True, help="Most requests at a time.")
@click.option("--factors", default="1,2", show_default=True, help="Multiples of the capacity.")
def overload(
    model: str,
    checkouts: tuple[Path, ...],
    seconds: float,
    rounds: int,
    deadline: float,
    connections: int,
    factors: str,
) -> None:
    """Measure how many requests are answered within their deadline when too many arrive."""
    plain = _requests(model, 1)
    asked = [with_header(request, f"X-Request-Timeout: {deadline:g}") for request in plain]
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with ExitStack() as stack:
        servers = list(_servers(stack, checkouts, model))
        for _ in range(rounds):
            for name, port in servers:
                full = uvloop.run(capacity(port, plain, 16, seconds))
                most = len(full.seconds) / seconds
                row = (most, most, full.ms(0.5), full.ms(0.99), 0.0)
                rows.setdefault((name, "16 connections"), []).append(row)
                click.echo(f"{name}: {most:.0f} requests/s", err=True)
                for factor in map(float, factors.split(",")):
                    rate = factor * most
                    got = uvloop.run(offered(port, asked, rate, connections, seconds))
                    good = sum(each <= deadline for each in got.seconds) / seconds
                    refused = got.statuses[503] + got.statuses[429]
                    row = (rate, good, got.ms(0.5), got.ms(0.99), refused / seconds)
                    rows.setdefault((name, f"{factor:g} x capacity"), []).append(row)
                    click.echo(f"{name}, {factor:g} x: {good:.0f} in time/s", err=True)
                    time.sleep(SETTLE_SECONDS)
    click.echo(f"{hardware()}; {model}; deadline {deadline:g} s; medians of {rounds} rounds\n")
    click.echo(
        "| checkout | load | offered/s | in time/s | of capacity | p50, ms | p99, ms | refused/s |"
    )
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (name, kind), found in rows.items():
        offer, good, p50, p99, refused = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        most = statistics.median(row[0] for row in rows[name, "16 connections"])
        click.echo(
            f"| {name} | {kind} | {offer:.0f} | {good:.0f} | {good / most:.2f} | {p50:.1f} | "
            f"{p99:.1f} | {refused:.0f} |"
        )


def _check(*found: Answers) -> None:
    wrong = sum((each.statuses for each in found), Counter())
    del wrong[200]
    if wrong:
        raise click.ClickException(f"answers with other statuses than 200: {dict(wrong)}")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.fairness")
