"""The hostile corpus against a real server: nothing fails, hangs or leaks, and answers stay right.

A share by default; `VITRINE_HOSTILE=full` (`make hostile`) sends all.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import httpx
import psutil
import pytest

from serving.problems import KINDS, MEDIA_TYPE
from tests.forks import ROOT
from tests.graphs import tiny_artifact
from tests.hostile.archives import BULK_MEGABYTES
from tests.hostile.case import ANSWERED, Case
from tests.hostile.corpus import cases, samples, share
from tests.pictures import bomb, encoded, photograph
from tests.server import SERVE, Server, environment_of, launch

FULL = os.environ.get("VITRINE_HOSTILE") == "full"
EVERY = 1 if FULL else 25
AT_ONCE = 8
TIMEOUT = 30
"""Seconds; a busy machine, and pictures that take long, have time enough."""
MAX_ROUNDS = 15
"""Number of rounds within which the server's memory has to settle."""
QUIET_ROUNDS = 4
"""Number of successive rounds without growth after which memory counts as settled."""
GROWTH = 1.01
"""Factor by which a round may exceed the highest earlier reading and still count as quiet."""
FREEING = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
"""Environment that has glibc return freed memory, so that what remains is what is in use.

The C library reads it when a program starts, so the server must not be a fork of another program.
"""
READINGS = 3
"""Number of readings of memory after a round; the lowest counts, because work may still end."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("hostile")
    tiny_artifact(root / "models", "tiny", route="cifar10", default=True)
    log = root / "log.txt"
    settings = {"VITRINE_BULK_MEGABYTES": str(BULK_MEGABYTES), **FREEING}
    environment = environment_of(root / "models", log, **settings)
    server = launch([sys.executable, "-m", *SERVE], log, ROOT, environment, "/readyz")
    yield server
    server.stop()


def memory(server: Server) -> int:
    """Return the unshared memory of all processes of the server at rest, bytes."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    readings = []
    for _ in range(READINGS):
        time.sleep(0.05)
        readings.append(sum(process.memory_full_info().uss for process in family))
    return min(readings)


def settles(readings: Iterable[float]) -> bool:
    """Return whether memory stops growing, from a reading after each of several equal rounds.

    An allocator keeps freed memory, so a few rounds may set new maxima, and the number of such
    rounds depends on which requests happen to overlap. A leak sets a new maximum in every round.

    Args:
        readings: in any unit; no more are taken than are needed.
    """
    highest = 0.0
    quiet = 0
    for reading in readings:
        quiet = quiet + 1 if reading < GROWTH * highest else 0
        highest = max(highest, reading)
        if quiet == QUIET_ROUNDS:
            return True
    return False


async def ask(http: httpx.AsyncClient, case: Case) -> str | None:
    """Send a case; returns what is wrong with the answer, or None."""
    headers = dict(case.headers)
    if case.content_type is not None:
        headers["Content-Type"] = case.content_type
    raw = {name.encode(): value.encode("utf-8") for name, value in headers.items()}
    try:
        response = await http.post(case.path, content=case.body, headers=raw)
    except httpx.TransportError as error:
        if len(case.body) > 10_000_000:  # the server need not read it completely
            return None
        return f"{error!r}"
    return complaint(case, response)


def complaint(case: Case, response: httpx.Response) -> str | None:
    """Return what is wrong with an answer, or None."""
    if response.status_code not in case.statuses:
        return f"{response.status_code} {response.text[:200]}"
    if response.status_code == 200:
        size = response.json()["pictures"][0]["size"] if case.size else None
        wanted = case.size and {"width": case.size[0], "height": case.size[1]}
        return None if size == wanted else f"size {size}"
    problem = response.headers.get("content-type") == MEDIA_TYPE and response.json()["code"]
    if problem not in KINDS and response.status_code != 400:  # 400: not HTTP, so uvicorn answers
        return f"no problem document: {response.text[:200]}"
    if any(word in response.text for word in ("Traceback", "/tmp/", "site-packages")):  # noqa: S108
        return f"tells too much: {response.text[:200]}"
    return None


async def ask_all(address: str, chosen: list[Case]) -> list[str]:
    waiting = iter(chosen)
    wrong = []

    async def take(http: httpx.AsyncClient) -> None:
        for case in waiting:
            found = await ask(http, case)
            if found:
                wrong.append(f"{case.kind}: {case.name}: {found}")

    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT) as http:
        await asyncio.gather(*(take(http) for _ in range(AT_ONCE)))
    return wrong


def warm(address: str) -> None:
    """Let the server's memory reach what large pictures and bodies take, in each worker."""
    large = Case("large", "large", bomb(4096))
    heavy = Case("large", "heavy", bytes(19_000_000))
    asyncio.run(ask_all(address, [large, heavy] * 20))


@pytest.mark.timeout(1800)
def test_nothing_hurts(server: Server) -> None:
    chosen = share(EVERY)
    picture = encoded(photograph(48, 40, seed=1))
    before_answer = httpx.post(f"{server.address}/v1/cifar10/classify", content=picture).json()
    readings: list[int] = []

    def rounds() -> Iterator[int]:
        while True:
            assert asyncio.run(ask_all(server.address, chosen)) == []
            readings.append(memory(server))
            yield readings[-1]

    warm(server.address)
    settled = settles(islice(rounds(), MAX_ROUNDS))
    assert settled, f"memory keeps growing: {[round(each / 1e6) for each in readings]} MB"
    assert (
        httpx.post(f"{server.address}/v1/cifar10/classify", content=picture).json() == before_answer
    )
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("readings", "settled"),
    [
        ([400.0] * 5, True),
        ([331, 331, 472, 467, 467, 468, 469], True),  # an allocator's step, then rest
        ([400, 406, 407, 403, 405, 405], True),
        ([400 + 5 * number for number in range(MAX_ROUNDS)], False),
        ([400, 405, 410, 409, 420, 425, 430, 435, 440, 438, 450, 455, 460, 465, 470], False),
        ([400.0] * 4, False),  # the first reading is compared with none
    ],
)
def test_leaks_are_told_from_noise(readings: list[float], *, settled: bool) -> None:
    assert settles(readings) is settled


def test_the_corpus_is_large() -> None:
    counts = Counter(case.kind for case in cases())
    assert counts.total() >= 5000
    assert all(count >= 10 for count in counts.values())
    assert {case.kind for case in share(EVERY)} == set(counts)


def test_samples_are_answered(server: Server) -> None:
    """The corpus starts from valid pictures; otherwise it would prove nothing."""
    good = [Case("good", name, body, ANSWERED) for name, body in samples().items()]
    assert asyncio.run(ask_all(server.address, good)) == []
