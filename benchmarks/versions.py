"""Throughput of this checkout's server beside that of another checkout, in one run.

    python -m benchmarks.versions ../vitrine-before

Both servers are up and are asked in turns, so that a machine whose speed changes does not favour
one of them. A ratio is this checkout divided by the other, as the median over the rounds.
"""

import signal
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.cells import LOADS
from benchmarks.load import drive
from benchmarks.pictures import CheckedRequests, make_pictures
from benchmarks.servers import ROOT, vitrine


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", default="cars-lite0-finetuned,ladder-b", show_default=True)
@click.option("--loads", default="1,8,32,mixed,many", show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Duration of one measurement.")
@click.option("--rounds", default=3, show_default=True, help="The median of these is shown.")
def main(other: Path, models: str, loads: str, seconds: float, rounds: int) -> None:
    """Print a row for each model and load."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    click.echo(f"{hardware()}; median of {rounds} rounds of {seconds:g} s\n")
    click.echo("| model, connections | other, pictures/s | this, pictures/s | ratio | errors |")
    click.echo("| --- | --- | --- | --- | --- |")
    for name in models.split(","):
        artifact = Artifact.open(name)
        with ExitStack() as stack:
            ports = [
                stack.enter_context(vitrine([artifact], checkout=checkout)).port
                for checkout in (other.resolve(), ROOT)
            ]
            for load in loads.split(","):
                click.echo(_row(artifact, ports, load, seconds, rounds))


def _row(artifact: Artifact, ports: list[int], load: str, seconds: float, rounds: int) -> str:
    kind = LOADS[load]
    pictures = make_pictures(artifact, None, mixed=kind.mixed)
    path = f"/v1/models/{artifact.manifest.name}/classify"
    checked = CheckedRequests(artifact, pictures, path, kind.each, vitrine=True)
    rates: list[list[float]] = []
    errors = 0
    for _ in range(rounds):
        found = [
            drive(
                port,
                checked.requests,
                kind.connections,
                warm_up=0.25 * seconds,
                seconds=seconds,
                check=checked.is_right,
            )
            for port in ports
        ]
        rates.append([each.requests * kind.each / each.seconds for each in found])
        errors += sum(each.errors for each in found)
    other, this = (median(rate[i] for rate in rates) for i in range(2))
    ratio = median(rate[1] / rate[0] for rate in rates)
    name = artifact.manifest.name
    return f"| {name}, {kind.title} | {other:,.0f} | {this:,.0f} | {ratio:.2f} | {errors} |"


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.versions")
