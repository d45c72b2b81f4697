"""What each optimization of the server is worth: it is switched off, one at a time.

    python -m benchmarks.tricks

All variants of the server are up and are asked in turns, so that a machine whose speed changes
does not favour one of them. A cell is the throughput of the whole server divided by that of the
variant, as the median over the rounds: 1.05 means that the optimization is worth 5 %.
"""

import json
import signal
from contextlib import ExitStack
from statistics import median

import click

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.cells import LOADS
from benchmarks.load import drive
from benchmarks.pictures import CheckedRequests, make_pictures
from benchmarks.servers import vitrine
from benchmarks.tricks_service import TRICKS

ALL = "all of these"
WHOLE = "nothing"
SERVICE = "benchmarks.tricks_service:Vitrine"


@click.command()
@click.option("--models", default="cars-lite0-finetuned,ladder-b", show_default=True)
@click.option("--loads", default="1,8,32", show_default=True, help="Of the loads of one picture.")
@click.option("--seconds", default=2.0, show_default=True, help="Duration of one measurement.")
@click.option("--rounds", default=3, show_default=True, help="The median of these is shown.")
def main(models: str, loads: str, seconds: float, rounds: int) -> None:
    """Print a table for each model."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are ended
    click.echo(f"{hardware()}; median of {rounds} rounds of {seconds:g} s\n")
    for name in models.split(","):
        click.echo(_table(Artifact.open(name), loads.split(","), seconds, rounds))


def _table(artifact: Artifact, loads: list[str], seconds: float, rounds: int) -> str:
    variants = {WHOLE: "", **{name: name for name in TRICKS}, ALL: ",".join(TRICKS)}
    rates: dict[tuple[str, str], list[float]] = {}
    pictures = make_pictures(artifact, None, mixed=False)
    path = f"/v1/models/{artifact.manifest.name}/classify"
    checked = CheckedRequests(artifact, pictures, path, 1, vitrine=True)
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(vitrine([artifact], SERVICE, without)).port
            for name, without in variants.items()
        }
        for load in loads:
            for _ in range(rounds):
                for name, port in ports.items():
                    found = drive(
                        port,
                        checked.requests,
                        LOADS[load].connections,
                        warm_up=0.25 * seconds,
                        seconds=seconds,
                        check=checked.is_right,
                    )
                    rate = found.requests / found.seconds
                    rates.setdefault((name, load), []).append(rate)
                    row = {"without": name, "load": load, "rate": rate, "errors": found.errors}
                    click.echo(json.dumps(row), err=True)
    lines = [
        f"`{artifact.manifest.name}`: throughput with everything, divided by that without",
        "",
        "| switched off | " + " | ".join(f"{LOADS[load].title}" for load in loads) + " |",
        "| --- |" + " --- |" * len(loads),
    ]
    for name in (*TRICKS, ALL):
        ratios = [
            median(a / b for a, b in zip(rates[WHOLE, load], rates[name, load], strict=True))
            for load in loads
        ]
        lines.append(f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    whole = [f"{median(rates[WHOLE, load]):,.0f}/s" for load in loads]
    lines.append(f"| {WHOLE}: requests/s | " + " | ".join(whole) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.tricks")
