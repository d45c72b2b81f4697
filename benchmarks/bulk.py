"""How many cores a million pictures an hour take, in process and over HTTP.

    python -m benchmarks.bulk --models cifar10-fast,cars-lite0-finetuned

For each model and picture size, the processor time of a picture is measured: of decoding it alone,
of `vitrine classify` in one process with one thread, and of all processes of a server that is sent
one picture a request over eight connections, or as many as `vitrine classify --url` sends (64, or
16 megapixels) over two. Processor time is what has to be paid for, and depends on other work on the
machine less than throughput does. The measurements take turns in rounds, and their medians are
shown.
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from statistics import median

import click
import httpx
import psutil
from PIL import Image

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.pictures import Picture, upright_rgb
from artifacts.provenance import hardware
from benchmarks.load import drive
from benchmarks.pictures import PICTURES, CheckedRequests, Pictures, make_pictures
from benchmarks.servers import Running, vitrine
from serving.client import LocalPredictor
from serving.client.chunks import chunks
from serving.commands.class_rows import ClassRows

MILLION_AN_HOUR = 1e6 / 3600
"""Pictures per second."""
HEADS = ("decoding", "in process", "HTTP, one a request", "HTTP, many a request")


@click.command()
@click.option("--models", default="cifar10-fast,cars-lite0-finetuned", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Duration of one measurement.")
@click.option(
    "--sizes",
    default="native,1600x1200",
    show_default=True,
    help="Width and height of the JPEG files; native is what the model sees without resizing.",
)
def main(models: str, rounds: int, seconds: float, sizes: str) -> None:
    """Print the pictures per second of processor time, and the cores for a million an hour."""
    click.echo(f"{hardware()}; median of {rounds} rounds of {seconds:g} s; pictures per CPU second")
    click.echo("(cores for a million pictures an hour)\n")
    click.echo(
        f"| model | pictures | kB each | {' | '.join(HEADS)} |\n|{' --- |' * (3 + len(HEADS))}"
    )
    for name in models.split(","):
        artifact = Artifact.open(name)
        with vitrine([artifact]) as server:
            for size in sizes.split(","):
                _measure(artifact, server, size, rounds, seconds)


def _measure(artifact: Artifact, server: Running, size: str, rounds: int, seconds: float) -> None:
    wanted = None
    if size != "native":
        width, height = size.split("x")
        wanted = int(width), int(height)
    pictures = make_pictures(artifact, None, mixed=False, size=wanted)
    many = len(next(chunks(pictures.contents))[1])
    predictor = LocalPredictor(threads=1)
    ask = ClassRows(predictor, predictor.model_info(artifact.name))
    work: list[Callable[[], float]] = [
        lambda: _in_process(lambda: [_decode(each) for each in pictures.contents], seconds),
        lambda: _in_process(lambda: ask(pictures.contents), seconds),
        lambda: _over_http(artifact, server, pictures, 1, 8, seconds),
        lambda: _over_http(artifact, server, pictures, many, 2, seconds),
    ]
    found = [[measure() for measure in work] for _ in range(rounds)]
    rates = [median(column) for column in zip(*found, strict=True)]
    cells = [f"{rate:,.0f} ({MILLION_AN_HOUR / rate:.2g})" for rate in rates]
    kilobytes = sum(map(len, pictures.contents)) / len(pictures.contents) / 1e3
    click.echo(f"| `{artifact.name}` | {size} | {kilobytes:.1f} | {' | '.join(cells)} |")


def _decode(content: bytes) -> Picture:
    return upright_rgb(Image.open(BytesIO(content)))


def _in_process(work: Callable[[], object], seconds: float) -> float:
    """Return pictures per second of this process's processor time; `work` does all of them once."""
    work()
    done, start, end = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        work()
        done += 1
    return done * PICTURES / (time.process_time() - start)


def _over_http(
    artifact: Artifact,
    server: Running,
    pictures: Pictures,
    each: int,
    connections: int,
    seconds: float,
) -> float:
    """Return pictures per second of the server's processor time."""
    path = f"/v1/models/{artifact.name}/classify"
    checked = CheckedRequests(artifact, pictures, path, each, vitrine=True)

    def load(duration: float) -> None:
        done = drive(
            server.port,
            checked.requests,
            connections,
            warm_up=0,
            seconds=duration,
            check=checked.is_right,
        )
        if done.errors:
            raise click.ClickException(f"{done.errors} answers were wrong or missing.")

    load(seconds / 4)
    before, start = _answered(server, artifact.name), _processor_time(server)
    load(seconds)
    seconds_used = _processor_time(server) - start
    return (_answered(server, artifact.name) - before) / seconds_used


def _answered(server: Running, model: str) -> float:
    """Return how many pictures the server has read for a model, by its own count."""
    metrics = httpx.get(f"http://127.0.0.1:{server.port}/metrics").raise_for_status().text
    found = re.search(rf'^vitrine_pictures_total{{model="{model}"}} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _processor_time(server: Running) -> float:
    """Return the seconds that all processes of the server have used."""
    total = 0.0
    for process in server.family():
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.bulk")
