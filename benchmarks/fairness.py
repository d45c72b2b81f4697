"""What one client notices of others, and how much of an overload is answered in time.

    python -m benchmarks.fairness turns
    python -m benchmarks.fairness turns --checkout ../vitrine-before  # compares versions in one run
    python -m benchmarks.fairness overload

`turns` sends one picture now and then, alone and beside clients that send requests of 64 pictures
one after the other, from the same address or from others. `overload` measures how many requests are
answered when as many arrive as the server can take, and then twice as many, each with a deadline.
The client runs on the same cores as the server. Versions are measured in turns, each on a server
of its own, and the medians of the rounds are printed.
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import uvloop

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.fairness_load import (
    LIGHT_ADDRESS,
    SETTLE_SECONDS,
    Answers,
    capacity,
    mixed,
    offered,
    with_header,
)
from benchmarks.pictures import CheckedRequests, make_pictures
from benchmarks.servers import ROOT, vitrine

HEAVY_ADDRESS = "127.0.0.3"
"""Another loopback address than `LIGHT_ADDRESS`: another machine, as far as the server can tell."""
EACH = 64
"""Pictures in a request of a heavy client."""


@click.group()
def main() -> None:
    """Measure how fair the server is, and what it does when too much is asked of it."""


def _requests(name: str, each: int) -> list[bytes]:
    artifact = Artifact.open(name)
    pictures = make_pictures(artifact, None, mixed=False)
    path = f"/v1/models/{name}/classify"
    return CheckedRequests(artifact, pictures, path, each, vitrine=True).requests


def _servers(stack: ExitStack, checkouts: Sequence[Path], model: str) -> Iterator[tuple[str, int]]:
    for checkout in (*checkouts, ROOT):
        server = vitrine([Artifact.open(model)], checkout=checkout.resolve())
        yield checkout.resolve().name, stack.enter_context(server).port


CHECKOUTS = click.option(
    "--checkout",
    "checkouts",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of the project to measure beside this one.",
)
MODEL = click.option("--model", default="cars-lite0-finetuned", show_default=True)
SECONDS = click.option("--seconds", default=4.0, show_default=True, help="Of a measurement.")
ROUNDS = click.option("--rounds", default=3, show_default=True)


@main.command()
@MODEL
@CHECKOUTS
@SECONDS
@ROUNDS
@click.option("--clients", default="1,8", show_default=True, help="Numbers of heavy clients.")
@click.option("--pause", default=0.05, show_default=True, help="Of the light client, in seconds.")
def turns(
    model: str, checkouts: tuple[Path, ...], seconds: float, rounds: int, clients: str, pause: float
) -> None:
    """Measure a client that sends one picture now and then, beside others that send many."""
    small, large = _requests(model, 1), _requests(model, EACH)
    kinds: dict[str, list[str]] = {"alone": []}
    for number in map(int, clients.split(",")):
        kinds[f"beside {number} of the same address"] = [LIGHT_ADDRESS] * number
        kinds[f"beside {number} of another address"] = [HEAVY_ADDRESS] * number
        kinds[f"beside {number} of {number} addresses"] = [
            f"127.0.1.{i + 1}" for i in range(number)
        ]
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with ExitStack() as stack:
        servers = list(_servers(stack, checkouts, model))
        for _ in range(rounds):
            for kind, heavy in kinds.items():
                for name, port in servers:
                    light, others, rate = uvloop.run(
                        mixed(port, small, large, heavy, pause, seconds)
                    )
                    _check(light, others)
                    row = (light.ms(0.5), light.ms(0.99), rate)
                    rows.setdefault((name, kind), []).append(row)
    click.echo(f"{hardware()}; {model}; medians of {rounds} rounds of {seconds:g} s\n")
    click.echo("| checkout | the light client | p50, ms | p99, ms | pictures/s of all |")
    click.echo("| --- | --- | --- | --- | --- |")
    for (name, kind), found in rows.items():
        p50, p99, rate = (statistics.median(column) for column in zip(*found, strict=True))
        click.echo(f"| {name} | {kind} | {p50:.1f} | {p99:.1f} | {rate:.0f} |")


@main.command()
@MODEL
@CHECKOUTS
@SECONDS
@ROUNDS
@click.option("--deadline", default=0.5, show_default=True, help="Of a request, in seconds.")
@click.option("--connections", default=256, show_default=True, help="Most requests at a time.")
@click.option("--factors", default="1,2", show_default=True, help="Multiples of the capacity.")
def overload(
    model: str,
    checkouts: tuple[Path, ...],
    seconds: float,
    rounds: int,
    deadline: float,
    connections: int,
    factors: str,
) -> None:
    """Measure how many requests are answered within their deadline when too many arrive."""
    plain = _requests(model, 1)
    asked = [with_header(request, f"X-Request-Timeout: {deadline:g}") for request in plain]
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with ExitStack() as stack:
        servers = list(_servers(stack, checkouts, model))
        for _ in range(rounds):
            for name, port in servers:
                full = uvloop.run(capacity(port, plain, 16, seconds))
                most = len(full.seconds) / seconds
                row = (most, most, full.ms(0.5), full.ms(0.99), 0.0)
                rows.setdefault((name, "16 connections"), []).append(row)
                click.echo(f"{name}: {most:.0f} requests/s", err=True)
                for factor in map(float, factors.split(",")):
                    rate = factor * most
                    got = uvloop.run(offered(port, asked, rate, connections, seconds))
                    good = sum(each <= deadline for each in got.seconds) / seconds
                    refused = got.statuses[503] + got.statuses[429]
                    row = (rate, good, got.ms(0.5), got.ms(0.99), refused / seconds)
                    rows.setdefault((name, f"{factor:g} x capacity"), []).append(row)
                    click.echo(f"{name}, {factor:g} x: {good:.0f} in time/s", err=True)
                    time.sleep(SETTLE_SECONDS)
    click.echo(f"{hardware()}; {model}; deadline {deadline:g} s; medians of {rounds} rounds\n")
    click.echo(
        "| checkout | load | offered/s | in time/s | of capacity | p50, ms | p99, ms | refused/s |"
    )
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (name, kind), found in rows.items():
        offer, good, p50, p99, refused = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        most = statistics.median(row[0] for row in rows[name, "16 connections"])
        click.echo(
            f"| {name} | {kind} | {offer:.0f} | {good:.0f} | {good / most:.2f} | {p50:.1f} | "
            f"{p99:.1f} | {refused:.0f} |"
        )


def _check(*found: Answers) -> None:
    wrong = sum((each.statuses for each in found), Counter())
    del wrong[200]
    if wrong:
        raise click.ClickException(f"answers with other statuses than 200: {dict(wrong)}")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.fairness")
