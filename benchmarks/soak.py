"""Loads a server for some time, and reports the answers, latencies and memory over time.

`python -m benchmarks.soak --minutes 30` is the soak test, `--minutes 1 --connections 256` the
overload test. The load is mixed: pictures of 32 to 2,048 px in JPEG and PNG, several in a request,
damaged ones, clients that disconnect, and requests that are refused, each with names, a key and a
size of its own. Meanwhile, models are added, loaded and removed. The program starts its own server
with one model.
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
from typing import Any

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
    replaced: int = 0
    """Number of the server's processes that ended before the load did."""


def picture(width: int, height: int, kind: str) -> bytes:
    """Return an encoded picture of random colours."""
    coarse = Image.fromarray(NOISE.integers(0, 256, (9, 9, 3), np.uint8))
    file = BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def make_requests() -> list[tuple[list[bytes], float]]:
    """Return (pictures, seconds after which the client disconnects, or 0) of each request."""
    large = picture(2048, 1536, "JPEG")
    alone = [([content], 0.0) for content in (*SMALL, picture(640, 480, "JPEG"), large)]
    return [*alone, (SMALL * 20, 0.0), ([large[:5000]], 0.0), ([b"text"], 0.0), ([large] * 4, 0.02)]


async def ask(address: str, until: float, record: Record, seed: int) -> None:
    """Run a client that sends the next request as soon as the last one is answered."""
    choose = random.Random(seed)
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        while time.monotonic() < until:
            request, patience = refused_request(choose), 0.0
            if choose.random() > REFUSED_SHARE:
                pictures, patience = choose.choice(REQUESTS)
                files = [("image", ("picture", content)) for content in pictures]
                request = {"method": "POST", "url": CLASSIFY, "files": files}
            begun = time.monotonic()
            try:
                response = await http.request(**request, timeout=patience or 120)
            except httpx.TransportError as error:
                record.statuses["went away" if patience else type(error).__name__] += 1
                continue
            record.statuses[str(response.status_code)] += 1
            if response.status_code == 200:  # noqa: PLR2004
                record.seconds.append(time.monotonic() - begun)
            elif "retry-after" in response.headers:
                await asyncio.sleep(float(response.headers["retry-after"]))


def refused_request(choose: random.Random) -> dict[str, Any]:
    """Return the parameters of a request that no other has, and that is answered with a 4xx."""
    name = f"{choose.getrandbits(64):x}"
    content = picture(choose.randrange(1, 8), choose.randrange(1, 8), "PNG")
    return choose.choice(
        [
            {"method": "GET", "url": f"/{name}/{name}"},
            {"method": "GET", "url": f"/v1/models/{name}"},
            {"method": "POST", "url": f"/v1/{name}/classify", "content": content},
            {"method": "POST", "url": CLASSIFY, "content": content},
            {"method": "POST", "url": f"{CLASSIFY}?top={name}", "content": content},
            {"method": "DELETE", "url": CLASSIFY, "headers": {"Authorization": f"Bearer {name}"}},
        ]
    )


async def reload(address: str, models: Path, until: float, record: Record) -> None:
    """Add a version of the model, load it, use it and remove it, every `RELOAD_SECONDS`."""
    # a connection for each request: the server closes those that are idle
    fresh = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
    async with httpx.AsyncClient(base_url=address, timeout=120, transport=fresh) as http:
        while time.monotonic() < until:
            version = f"{MODEL}@1"
            shutil.copytree(models / MODEL, models / version)
            loaded = await http.post("/v1/models:reload")
            await http.post(f"/v1/models/{version}/classify", content=SMALL[0])
            shutil.rmtree(models / version)
            removed = await http.post("/v1/models:reload")
            for response in (loaded, removed):
                record.statuses[f"reload {response.status_code}"] += 1
            await asyncio.sleep(RELOAD_SECONDS)


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
NOISE = np.random.default_rng(0)
SMALL = [picture(32, 32, "PNG"), picture(97, 131, "JPEG"), picture(32, 20, "PNG")]
REQUESTS = make_requests()
REFUSED_SHARE = 0.3
"""Share of the requests that `refused_request` makes."""
RELOAD_SECONDS = 3.0


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
        models = Path(folder) / "models"
        reloads = reload(address, models, until, record)
        before = set(server.family())
        await asyncio.gather(watch(server, until, record), reloads, *clients)
        record.replaced = len(before - set(server.family()))

    artifact = Artifact.open(MODEL)
    with TemporaryDirectory() as folder:
        shutil.copytree(artifact.path, Path(folder) / "models" / MODEL)
        with running(Setting("Vitrine"), artifact, Path(folder)) as server:
            asyncio.run(load(server))
    memory = record.memory
    hours, used = np.array(memory[len(memory) // 5 :]).T  # without the warm-up
    slope = float(np.polyfit(hours, used, 1)[0])
    times = np.array(record.seconds)
    print(f"{connections} connections, {minutes:g} minutes: {dict(record.statuses)}; ", end="")
    print(f"{record.replaced} processes ended")
    print(f"answered: {len(times) / minutes / 60:.1f}/s, p50 {np.median(times):.3f} s, ", end="")
    print(f"p99 {np.quantile(times, 0.99):.3f} s")
    fifths = ", ".join(f"{part.mean():.0f}" for part in np.array_split([mb for _, mb in memory], 5))
    print(f"memory: {fifths} MB in each fifth; {slope:+.1f} MB/hour after the first")


if __name__ == "__main__":
    main()
