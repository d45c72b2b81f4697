"""Memory of a server with several models, process by process.

    python -m benchmarks.memory
    python -m benchmarks.memory --checkout ../vitrine-before   # compares two versions in one run

The server is started with the models, each is asked about one picture and then about many at once,
as in use, and the memory of all its processes is read: proportional set size (PSS), in which a page
that n processes share counts 1/n in each, and resident set size (RSS), in which it counts in each.
"""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import httpx
import numpy as np
import psutil
from PIL import Image

from artifacts import Artifact, VitrineError
from artifacts.commands import run_command
from artifacts.provenance import hardware

ROOT = Path(__file__).parents[1]
MODELS = "cars-lite0-finetuned,cifar10-fast,cifar10-lite0,faces-dlib,mnist-relu-cross-entropy-sgd"
START = 120
"""Seconds that a server may take to start."""
ROUNDS = 8
"""Requests of each kind to each model, on new connections, so that every worker gets some."""


@click.command()
@click.option("--models", default=MODELS, show_default=True, help="Models to serve.")
@click.option("--workers", default=2, show_default=True)
@click.option(
    "--checkout",
    "checkouts",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of the project to measure beside this one.",
)
def main(models: str, workers: int, checkouts: tuple[Path, ...]) -> None:
    """Print the memory of each process, in MB."""
    names = models.split(",")
    click.echo(f"{hardware()}; {workers} workers; {', '.join(names)}\n")
    click.echo("| checkout | moment | processes | PSS, MB | RSS, MB |")
    click.echo("| --- | --- | --- | --- | --- |")
    for checkout in (*checkouts, ROOT):
        _measure(checkout.resolve(), names, workers)


def _measure(checkout: Path, names: list[str], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            shutil.copytree(Artifact.open(name).path, root / "models" / name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "serving", "run", "--port", str(port)],
                cwd=checkout,
                env={
                    **os.environ,
                    "BENTOML_DO_NOT_TRACK": "True",
                    "PYTHONPATH": str(checkout),
                    "VITRINE_ARTIFACTS": str(root / "models"),
                    "VITRINE_DATABASE": str(root / "gallery.sqlite3"),
                    "VITRINE_WORKERS": str(workers),
                },
                stdout=log,
                stderr=log,
            )
        try:
            _wait(port, root / "log", process)
            _show(checkout, "after the start", process.pid)
            _ask(port, names)
            _show(checkout, "after requests", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _wait(port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success:
                time.sleep(3)  # the other workers may still be loading
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise VitrineError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def _ask(port: int, names: list[str]) -> None:
    for name in names:
        artifact = Artifact.open(name)
        picture = _picture(artifact)
        what = "classify" if artifact.manifest.task == "classification" else "features"
        url = f"http://127.0.0.1:{port}/v1/models/{name}/{what}"
        for count in (1, 32):
            for _ in range(ROUNDS):
                files = [("image", picture)] * count
                httpx.post(url, files=files, timeout=60).raise_for_status()


def _picture(artifact: Artifact) -> bytes:
    policy = artifact.manifest.input
    side = policy.native_side[1] if policy.native_side else policy.accepted_side[0]
    width, height = policy.fixed_size or (side, side)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def _show(checkout: Path, moment: str, pid: int) -> None:
    leader = psutil.Process(pid)
    infos = [each.memory_full_info() for each in (leader, *leader.children(recursive=True))]
    pss, rss = sum(i.pss for i in infos) / 1e6, sum(i.rss for i in infos) / 1e6
    each = " + ".join(f"{info.pss / 1e6:.0f}" for info in infos)
    click.echo(f"| {checkout.name} | {moment} | {each} | {pss:.0f} | {rss:.0f} |")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.memory")
