"""Time until a server is ready: after `vitrine serve`, and after all its workers were killed.

    python -m benchmarks.start
    python -m benchmarks.start --checkout ../vitrine-before   # compares two versions in one run

A server is started with some models, and asked for `/readyz` until it answers 200. Then its workers
are killed with SIGKILL, as the kernel does when memory runs out, and it is asked again. The CPU
time of all its processes until then is printed, too: it hardly depends on what else the machine
does. Versions and sets of models take turns.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import psutil

from artifacts import VitrineError
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.servers import ROOT, START_TIMEOUT, Running

ALL = "all"
"""Stands for all models."""
PAUSE = 0.01
"""Time between two requests for /readyz, in seconds."""


class Times(NamedTuple):
    """What one server took, in seconds."""

    start: float
    start_cpu: float
    """CPU time of all processes until the server was ready."""
    recovery: float
    recovery_cpu: float
    """CPU time of the new workers until the server was ready again."""


@click.command()
@click.option(
    "--models",
    "sets",
    multiple=True,
    default=("cifar10-fast", ALL),
    show_default=True,
    help="Models to serve, separated by commas; may be given several times.",
)
@click.option("--rounds", default=5, show_default=True, help="Starts of each; medians are shown.")
@click.option(
    "--checkout",
    "checkouts",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of the project to measure beside this one.",
)
def main(sets: tuple[str, ...], rounds: int, checkouts: tuple[Path, ...]) -> None:
    """Print the median and the longest time of each."""
    cells = [(checkout.resolve(), models) for models in sets for checkout in (*checkouts, ROOT)]
    found: dict[tuple[Path, str], list[Times]] = {cell: [] for cell in cells}
    for _ in range(rounds):
        for cell in cells:
            found[cell].append(_measure(*cell))
    click.echo(f"{hardware()}; median (longest) of {rounds} starts, in seconds\n")
    click.echo("| checkout | models | start | its CPU time | after SIGKILL | its CPU time |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for (checkout, models), times in found.items():
        shown = " | ".join(_summary(column) for column in zip(*times, strict=True))
        click.echo(f"| {checkout.name} | {models} | {shown} |")


def _summary(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.1f} ({max(seconds):.1f})"


def _measure(checkout: Path, models: str) -> Times:
    """Start one server, kill its workers, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "vitrine.py", "serve", "--port", str(port)],
            cwd=checkout,
            env={
                **os.environ,
                "BENTOML_DO_NOT_TRACK": "True",
                "PYTHONPATH": str(checkout),
                "VITRINE_DATABASE": f"{folder}/gallery.sqlite3",
                "VITRINE_MODELS": "" if models == ALL else models,
            },
            stdout=log,
            stderr=log,
        )
        try:
            server = Running(port, psutil.Process(process.pid))
            start = _until_ready(port, began)
            start_cpu = sum(_cpu(each) for each in server.family())
            # A worker that is loading yet would be killed before it is worth measuring.
            time.sleep(3)
            workers = server.process.children()
            killed = time.monotonic()
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
            recovery = _until_ready(port, killed)
            return Times(start, start_cpu, recovery, sum(map(_cpu, server.process.children())))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _until_ready(port: int, since: float) -> float:
    """Wait until a server is ready; returns the seconds since a moment.

    Raises:
        VitrineError: it does not become ready.
    """
    request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while (now := time.monotonic()) < since + START_TIMEOUT:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.settimeout(START_TIMEOUT)
            probe.sendall(request)
            if probe.recv(12)[9:12] == b"200":
                return time.monotonic() - since
        time.sleep(PAUSE)
    raise VitrineError(f"the server was not ready within {now - since:.0f} s.")


def _cpu(process: psutil.Process) -> float:
    """CPU time of a process and of its children that have ended, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.start")
