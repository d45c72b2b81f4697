"""Measures what an explanation costs, beside the classification of the same picture.

    python -m benchmarks.explain --rounds 30

A server is asked in turns to classify a picture, to explain the answer as JSON and to explain it as
an overlay. What counts is the processor time of the whole server for a request, so that other
programs on the machine disturb less; the means over all rounds are shown.
"""

import signal
from statistics import mean

import click
import httpx

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.pictures import make_pictures
from benchmarks.servers import Running, vitrine
from serving.schemas import PNG

MODELS = "cars-lite0-finetuned,cifar10-lite0,cifar10-fast,mnist-relu-cross-entropy-sgd"
REQUESTS = 10
"""Requests in a row, of one kind."""
WAYS = {"classify": {}, "explain": {}, "overlay": {"Accept": PNG}}
"""The headers of each kind of request."""


@click.command()
@click.option("--models", default=MODELS, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=30, show_default=True)
def main(models: str, rounds: int) -> None:
    """Print a row for each model: milliseconds of processor time, and ratios to classifying."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped
    artifacts = [Artifact.open(name) for name in models.split(",")]
    click.echo(f"{hardware()}; mean of {rounds} rounds of {REQUESTS} requests\n")
    click.echo("| model | method | classify, ms | explain | ratio | overlay | ratio |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- |")
    with vitrine(artifacts) as server:
        for artifact in artifacts:
            click.echo(_row(server, artifact, rounds))


def _row(server: Running, artifact: Artifact, rounds: int) -> str:
    name = artifact.manifest.name
    contents = make_pictures(artifact, None, mixed=False).contents
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}/v1/models/{name}") as http:
        for number in range(rounds + 3):  # the first rounds are the warm-up, of all workers
            sent = [contents[(number + i) % len(contents)] for i in range(REQUESTS)]
            for way, headers in WAYS.items():
                before = _processor_seconds(server)
                for content in sent:
                    address = "classify" if way == "classify" else "explain"
                    answer = http.post(f"/{address}", content=content, headers=headers)
                    answer.raise_for_status()
                    if way == "explain":
                        method = answer.json()["method"]
                spent = (_processor_seconds(server) - before) / REQUESTS
                if number >= 3:  # noqa: PLR2004
                    seconds[way].append(spent)
    classify, explain, overlay = (mean(values) for values in seconds.values())
    return (
        f"| {name} | {method} | {1e3 * classify:.1f} | {1e3 * explain:.1f} | "
        f"{explain / classify:.2f} | {1e3 * overlay:.1f} | {overlay / classify:.2f} |"
    )


def _processor_seconds(server: Running) -> float:
    """Processor time that all processes of a server have taken so far."""
    times = [process.cpu_times() for process in server.family()]
    return float(sum(each.user + each.system for each in times))


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.explain")
