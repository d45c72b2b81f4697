"""Memory of a server with several models, process by process.

    python -m benchmarks.memory
    python -m benchmarks.memory --checkout ../vitrine-before   # compares two versions in one run

The server is started with the models, each is asked about one picture and then about many at once,
as in use, and the memory of all its processes is read: proportional set size (PSS), in which a page
that n processes share counts 1/n in each, and resident set size (RSS), in which it counts in each.
"""

import io
from pathlib import Path

import click
import httpx
import numpy as np
from PIL import Image

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.servers import ROOT, Running, vitrine

MODELS = "cars-lite0-finetuned,cifar10-fast,cifar10-lite0,faces-dlib,mnist-relu-cross-entropy-sgd"
ROUNDS = 8
"""Requests of each kind to each model, on new connections, so that every worker gets some."""


@click.command()
@click.option("--models", default=MODELS, show_default=True, help="Models to serve.")
@click.option(
    "--checkout",
    "checkouts",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of the project to measure beside this one.",
)
def main(models: str, checkouts: tuple[Path, ...]) -> None:
    """Print the memory of each process, in MB."""
    names = models.split(",")
    click.echo(f"{hardware()}; {', '.join(names)}\n")
    click.echo("| checkout | moment | processes | PSS, MB | RSS, MB |")
    click.echo("| --- | --- | --- | --- | --- |")
    for checkout in (*checkouts, ROOT):
        _measure(checkout.resolve(), names)


def _measure(checkout: Path, names: list[str]) -> None:
    with vitrine([Artifact.open(name) for name in names], checkout=checkout) as server:
        _show(checkout, "after the start", server)
        _ask(server.port, names)
        _show(checkout, "after requests", server)


def _ask(port: int, names: list[str]) -> None:
    for name in names:
        artifact = Artifact.open(name)
        picture = _picture(artifact)
        what = "classify" if artifact.manifest.task != "embedding" else "features"
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


def _show(checkout: Path, moment: str, server: Running) -> None:
    infos = [each.memory_full_info() for each in server.family()]
    pss, rss = sum(i.pss for i in infos) / 1e6, sum(i.rss for i in infos) / 1e6
    each = " + ".join(f"{info.pss / 1e6:.0f}" for info in infos)
    click.echo(f"| {checkout.name} | {moment} | {each} | {pss:.0f} | {rss:.0f} |")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.memory")
