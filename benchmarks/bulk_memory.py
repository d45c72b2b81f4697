"""Memory of a server while it answers one request of many large photographs.

    python -m benchmarks.bulk_memory

A server with one worker is sent the same photographs as a zip, a tar and a form, answered in lines
and as a whole, and first 20 of them in an ordinary request. While it works, the unshared memory of
the worker is read twenty times a second.
"""

import io
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import click
import httpx
import numpy as np
import psutil
from PIL import Image

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.servers import Running, vitrine
from serving.schemas import NDJSON

KINDS = {
    "zip": "application/zip",
    "tar": "application/x-tar",
    "form": "multipart/form-data; boundary=x",
}
DISTINCT = 20
"""Number of photographs that are made; they are sent in turn."""


@click.command()
@click.option("--model", default="cifar10-fast", show_default=True)
@click.option("--pictures", default=1000, show_default=True)
@click.option("--size", default="1600x1200", show_default=True, help="Width and height.")
def main(model: str, pictures: int, size: str) -> None:
    """Print the largest memory of the worker during each request, in MB."""
    width, height = map(int, size.split("x"))
    photographs = [photograph(width, height, seed) for seed in range(DISTINCT)]
    kilobytes = sum(map(len, photographs)) / DISTINCT / 1e3
    click.echo(f"{hardware()}; `{model}`; {pictures} JPEGs of {size}, {kilobytes:.0f} kB each\n")
    click.echo("| request | answer | at rest, MB | largest, MB |\n| --- | --- | --- | --- |")
    with vitrine([Artifact.open(model)], settings={"VITRINE_WORKERS": "1"}) as server:
        path = f"http://127.0.0.1:{server.port}/v1/models/{model}/classify"
        files = [("image", each) for each in photographs]
        httpx.post(path, files=files[:1], timeout=60).raise_for_status()
        with _watched(server, f"{DISTINCT} in an ordinary form", "JSON"):
            httpx.post(path, files=files, timeout=60).raise_for_status()
        for kind, label in KINDS.items():
            for accept in (NDJSON, "application/json"):
                with tempfile.TemporaryFile() as body:
                    _write(body, kind, photographs, pictures)
                    headers = {"Content-Type": label, "Accept": accept}
                    with _watched(server, f"{pictures} in a {kind}", accept):
                        _send(path, body, headers, pictures)


def _send(path: str, body: IO[bytes], headers: dict[str, str], pictures: int) -> None:
    body.seek(0)
    answer = httpx.post(
        path, params={"errors": "each"}, content=body, headers=headers, timeout=3600
    ).raise_for_status()
    if answer.content.count(b'"index":') != pictures or b'"problem":' in answer.content:
        raise click.ClickException("pictures were refused or not answered.")


@contextmanager
def _watched(server: Running, request: str, answer: str) -> Iterator[None]:
    """Print a row with the memory of the worker, the process with the most, during the block."""
    worker = max(server.family(), key=lambda process: process.memory_full_info().uss)
    before = _unshared(worker)
    readings, end = [before], threading.Event()

    def watch() -> None:
        while not end.wait(0.05):
            readings.append(_unshared(worker))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        end.set()
        watcher.join()
    click.echo(f"| {request} | {answer} | {before / 1e6:.0f} | {max(readings) / 1e6:.0f} |")


def _unshared(process: psutil.Process) -> int:
    return int(process.memory_full_info().uss)


def photograph(width: int, height: int, seed: int) -> bytes:
    """Return a JPEG of quality 95 of smooth colours with noise."""
    random = np.random.default_rng(seed)
    colours = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
    smooth = np.asarray(colours.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + random.integers(-16, 17, smooth.shape, np.int16)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def _write(body: IO[bytes], kind: str, photographs: list[bytes], pictures: int) -> None:
    named = [(f"{i}.jpg", photographs[i % DISTINCT]) for i in range(pictures)]
    if kind == "zip":
        with zipfile.ZipFile(body, "w") as archive:
            for name, content in named:
                archive.writestr(name, content)
    elif kind == "tar":
        with tarfile.open(fileobj=body, mode="w") as tar:
            for name, content in named:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        for name, content in named:
            head = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
            body.write(head.encode() + content + b"\r\n")
        body.write(b"--x--\r\n")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.bulk_memory")
