"""Loads a server for some time, and reports the answers, latencies and memory over time.

`python -m benchmarks.soak --minutes 30` is the soak test, `--minutes 1 --connections 256` the
overload test. The load is mixed: pictures of 32 to 2,048 px in JPEG and PNG, several in a request,
damaged ones, and clients that disconnect. The program starts its own server with one model.
"""

import asyncio
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import httpx
import numpy as np
from PIL import Image

from artifacts import Artifact
from benchmarks.servers import Running, Setting, running


@dataclass
class Record:
    """The results of the load."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Latencies of the requests that were answered with status 200."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """(hours since the start, memory in MB) over time."""


def make_requests() -> list[tuple[list[bytes], float]]:
    """Return (pictures, seconds after which the client disconnects, or 0) of each request."""
    noise = np.random.default_rng(0)

    def picture(width: int, height: int, kind: str) -> bytes:
        coarse = Image.fromarray(noise.integers(0, 256, (9, 9, 3), np.uint8))
        file = BytesIO()
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(file, kind)
        return file.getvalue()

    small = [picture(32, 32, "PNG"), picture(97, 131, "JPEG"), picture(32, 20, "PNG")]
    large = picture(2048, 1536, "JPEG")
    alone = [([content], 0.0) for content in (*small, picture(640, 480, "JPEG"), large)]
    return [*alone, (small * 20, 0.0), ([large[:5000]], 0.0), ([b"text"], 0.0), ([large] * 4, 0.02)]


async def ask(address: str, until: float, record: Record, seed: int) -> None:
    """Run a client that sends the next request as soon as the last one is answered."""
    choose = random.Random(seed)
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        while time.monotonic() < until:
            pictures, patience = choose.choice(REQUESTS)
            files = [("image", ("picture", content)) for content in pictures]
            begun = time.monotonic()
            try:
                response = await http.post(CLASSIFY, files=files, timeout=patience or 120)
            except httpx.TransportError as error:
                record.statuses["went away" if patience else type(error).__name__] += 1
                continue
            record.statuses[str(response.status_code)] += 1
            if response.status_code == 200:  # noqa: PLR2004
                record.seconds.append(time.monotonic() - begun)
            elif "retry-after" in response.headers:
                await asyncio.sleep(float(response.headers["retry-after"]))


async def watch(server: Running, until: float, record: Record) -> None:
    """Record the memory of all processes of the server, 60 times until the end."""
    begun = time.monotonic()
    interval = (until - begun) / 60
    while time.monotonic() < until:
        used = sum(member.memory_full_info().uss for member in server.family()) / 1e6
        record.memory.append(((time.monotonic() - begun) / 3600, used))
        await asyncio.sleep(interval)


MODEL = "cifar10-fast"
CLASSIFY = f"/v1/models/{MODEL}/classify"
REQUESTS = make_requests()


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--connections", default=16, show_default=True)
def main(minutes: float, connections: int) -> None:
    """Load a server, and print the results."""
    record = Record()

    async def load(server: Running) -> None:
        until = time.monotonic() + 60 * minutes
        address = f"http://127.0.0.1:{server.port}"
        clients = (ask(address, until, record, n) for n in range(1, connections + 1))
        await asyncio.gather(watch(server, until, record), *clients)

    artifact = Artifact.open(MODEL)
    with TemporaryDirectory() as folder:
        shutil.copytree(artifact.path, Path(folder) / "models" / MODEL)
        with running(Setting("Vitrine"), artifact, Path(folder)) as server:
            asyncio.run(load(server))
    memory = record.memory
    hours, used = np.array(memory[len(memory) // 5 :]).T  # without the warm-up
    slope = float(np.polyfit(hours, used, 1)[0])
    times = np.array(record.seconds)
    print(f"{connections} connections, {minutes:g} minutes: {dict(record.statuses)}")
    print(f"answered: {len(times) / minutes / 60:.1f}/s, p50 {np.median(times):.3f} s, ", end="")
    print(f"p99 {np.quantile(times, 0.99):.3f} s")
    fifths = ", ".join(f"{part.mean():.0f}" for part in np.array_split([mb for _, mb in memory], 5))
    print(f"memory: {fifths} MB in each fifth; {slope:+.1f} MB/hour after the first")


if __name__ == "__main__":
    main()
