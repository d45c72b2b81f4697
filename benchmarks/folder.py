"""Classifies a folder in process and through a server, in turns, and compares the wall-clock rates.

    python -m benchmarks.folder --model cifar10-fast

`vitrine classify` is run on the same files in this way and that, as a process of its own each time:
in process, with `--url`, and not with the command but as archives of 1,000 pictures, two at a time.
The server and its client share the cores of the machine. Start-up counts.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import click

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.bulk_memory import photograph
from benchmarks.servers import ROOT, vitrine
from serving.client import Client

ARCHIVE = 1000
"""Pictures in an archive."""


@click.command()
@click.option("--model", default="cifar10-fast", show_default=True)
@click.option("--pictures", default=5000, show_default=True)
@click.option("--size", default="32x32", show_default=True, help="Width and height of the JPEGs.")
@click.option("--rounds", default=5, show_default=True)
def main(model: str, pictures: int, size: str, rounds: int) -> None:
    """Print the medians of pictures per second, and the ratios to the rate in process."""
    width, height = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as name, vitrine([Artifact.open(model)]) as server:
        folder = Path(name)
        (folder / "pictures").mkdir()
        for i in range(pictures):
            (folder / "pictures" / f"{i}.jpg").write_bytes(photograph(width, height, i))
        archives = _archives(folder)
        url = f"http://127.0.0.1:{server.port}"
        ways: dict[str, Callable[[], None]] = {
            "in process": lambda: _command(folder, model),
            "`--url`": lambda: _command(folder, model, "--url", url),
            "archives": lambda: _upload(archives, model, url),
        }
        found = [[_rate(way, pictures) for way in ways.values()] for _ in range(rounds + 1)][1:]
    click.echo(f"{hardware()}; `{model}`, {pictures} JPEGs of {size}, {rounds} rounds\n")
    click.echo("| way | pictures a second | of in process: median (least to largest) |")
    click.echo("| --- | --- | --- |")
    for way, rates in zip(ways, zip(*found, strict=True), strict=True):
        ratios = [rate / row[0] for rate, row in zip(rates, found, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        click.echo(f"| {way} | {median(rates):,.0f} | {spread} |")


def _rate(work: Callable[[], None], pictures: int) -> float:
    start = time.monotonic()
    work()
    return pictures / (time.monotonic() - start)


def _command(folder: Path, model: str, *options: str) -> None:
    out = folder / "answers.csv"
    out.unlink(missing_ok=True)
    command = ["-m", "serving", "classify", str(folder / "pictures"), "--model", model]
    subprocess.run(  # noqa: S603
        [sys.executable, *command, "--out", str(out), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )


def _archives(folder: Path) -> list[Path]:
    files = sorted((folder / "pictures").iterdir())
    made = []
    for start in range(0, len(files), ARCHIVE):
        made.append(folder / f"{start}.zip")
        with zipfile.ZipFile(made[-1], "w") as archive:
            for file in files[start : start + ARCHIVE]:
                archive.write(file, file.name)
    return made


def _upload(archives: list[Path], model: str, url: str) -> None:
    with Client(url) as client, ThreadPoolExecutor(2) as pool:
        for entries in pool.map(lambda file: list(client.classify_archive(model, file)), archives):
            if any(entry.index is None for entry in entries):
                raise click.ClickException("an answer ended early.")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.folder")
