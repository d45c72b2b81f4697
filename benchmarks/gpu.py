"""Measures a GPU host in minutes: training, publishing, and serving against other servers.

    make setup && .venv/bin/pip install -c constraints.txt -e '.[serve,bench]'
    .venv/bin/python -m benchmarks.gpu

One table says how long an epoch of four recipes takes, and publishing them; how fast a graph runs
in process, which is the limit; and how fast servers answer with it over HTTP. Pictures are
generated, so that no data set is needed, and models are trained in a temporary folder. Every answer
is checked. The time is kept: what did not fit into `--minutes` is named under the table. Peers run
the same graph on the same provider, and those that are not installed are named, too.

It runs on a machine without a GPU as well, and says so; `--smoke` does so in a minute or two.
"""

import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, TypeVar

import click
import psutil

from artifacts import Artifact, VitrineError
from artifacts.commands import run_command
from artifacts.provenance import code_version, hardware
from artifacts.sessions import runs_on_gpu
from benchmarks import gpu_limit, gpu_serving, gpu_training
from benchmarks.card import Card, Use
from benchmarks.gpu_rows import NOT_MEASURED, Budget, Row, Table
from benchmarks.load import Load

NETWORKS = (
    gpu_limit.Network("cars-lite0-finetuned", 224),
    gpu_limit.Network("cifar10-fast", 32),
)
T = TypeVar("T")
SERVERS = ("Vitrine", "FastAPI", "BentoML", "LitServe")
TRAINING_SHARE = 0.4
"""Share of the time that training may take; what it leaves goes to the servers."""


class Plan(NamedTuple):
    """What is measured, and for how long."""

    minutes: float
    jobs: Sequence[gpu_training.Job]
    profile: str
    networks: Sequence[gpu_limit.Network]
    connections: Sequence[int]
    seconds: float
    """Duration of one measurement of the graph or of a server."""
    defaults_only: bool = False
    """Whether peers run with their defaults alone."""


FULL = Plan(8, gpu_training.JOBS, "full", NETWORKS, (1, 8, 32, 64, 256), 1.5)
SMOKE = Plan(4, gpu_training.smoke_jobs(), "smoke", NETWORKS, (1, 8), 1.0, defaults_only=True)


@click.command()
@click.option("--smoke", is_flag=True, help="Try everything in tiny sizes, on any machine.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Time that everything may take together; 8 by default, and 4 with --smoke.",
)
@click.option("--recipe", "recipes", multiple=True, help="A recipe to train; four by default.")
@click.option(
    "--side",
    "sides",
    type=int,
    multiple=True,
    help="Side of the network's pictures in px: 224 or 32; both by default.",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    type=click.Choice(SERVERS),
    help="A server to measure; may be repeated; all by default.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports/benchmarks/gpu"),
    show_default=True,
    help="Folder of gpu.md, gpu.csv and gpu.json.",
)
def main(
    smoke: bool,
    minutes: float | None,
    recipes: tuple[str, ...],
    sides: tuple[int, ...],
    servers: tuple[str, ...],
    output: Path,
) -> None:
    """Measure, and print the table."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are stopped, too
    plan = SMOKE if smoke else FULL
    plan = plan._replace(
        minutes=minutes or plan.minutes,
        jobs=_chosen(plan.jobs, [job.recipe for job in plan.jobs], recipes, "--recipe"),
        networks=_chosen(plan.networks, [str(n.side) for n in plan.networks], sides, "--side"),
    )
    card = Card.find()
    table = Table(output, _facts(card, plan), Budget(60 * plan.minutes))
    if not runs_on_gpu():
        click.echo("NO GPU IN USE: everything is measured on the CPU", err=True)
    with tempfile.TemporaryDirectory(prefix="vitrine-gpu-") as name:
        folder = Path(name)
        _train(plan, folder, table, card)
        _serve(plan, servers or SERVERS, folder, table, card)
    table.write()
    click.echo(table.markdown())
    click.echo(f"{output}: gpu.md, gpu.csv, gpu.json", err=True)


def _train(plan: Plan, folder: Path, table: Table, card: Card | None) -> None:
    """Train and publish each recipe in its share of the time that is left for training."""
    end = table.budget.left * (1 - TRAINING_SHARE)
    for number, job in enumerate(plan.jobs):
        seconds = (table.budget.left - end) / (len(plan.jobs) - number)
        _say(f"training {job.recipe}, at most {seconds:.0f} s")
        outcome = gpu_training.train(job, plan.profile, folder, seconds, card)
        rows = gpu_training.rows(job, plan.profile, outcome)
        for row in rows:
            table.add(row)
        if outcome.failure:
            part = "publishing" if rows else "training and publishing"
            table.miss(f"{part}, {job.recipe}", outcome.failure)


def _serve(
    plan: Plan, servers: Sequence[str], folder: Path, table: Table, card: Card | None
) -> None:
    """Measure every network in process, and then each server with every network."""
    found: dict[gpu_limit.Network, tuple[Artifact, gpu_limit.InProcess]] = {}
    for network in plan.networks:
        _say(f"{network.title} in process")
        try:
            artifact = gpu_limit.resized(network, folder)
            inside, use = gpu_limit.measure_apart(artifact, plan.seconds, table.budget.left, card)
        except VitrineError as error:
            table.miss(f"in process and HTTP, {network.title}", str(error))
            continue
        found[network] = artifact, inside
        for title, (load, each) in inside.loads.items():
            table.add(_limit_row(network, inside, title, load, each, use))
    settings = gpu_serving.defaults if plan.defaults_only else gpu_serving.settings
    for setting in settings(servers):
        for network, (artifact, inside) in found.items():
            _say(f"{network.title} on {setting.name}")
            gpu_serving.measure(
                network, artifact, setting, inside, plan.connections, plan.seconds, table, card
            )


def _limit_row(
    network: gpu_limit.Network,
    inside: gpu_limit.InProcess,
    title: str,
    load: Load,
    each: int,
    use: Use,
) -> Row:
    return Row(
        "in process",
        network.title,
        inside.provider.name,
        title,
        pictures_per_second=load.requests * each / load.seconds,
        p50=load.p50,
        p99=load.p99,
        host_mb=use.host_mb,
        card_mb=use.card_mb,
    )


def _facts(card: Card | None, plan: Plan) -> dict[str, str]:
    """Return what is measured, and on what."""
    packages = ("onnxruntime-gpu", "onnxruntime", "torch", "bentoml", "fastapi", "litserve")
    return {
        "host": f"{hardware()}, {psutil.virtual_memory().total / 1e9:.0f} GB",
        "card": f"{card.name}, driver {card.driver}" if card else NOT_MEASURED,
        "provider": "CUDA" if runs_on_gpu() else "CPU, since no GPU is in use",
        "software": ", ".join(
            [f"Python {platform.python_version()}", *filter(None, map(_version, packages))]
        ),
        "code": code_version(),
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured": f"{plan.seconds:g} s for each load, on loopback, the client on the same host",
    }


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _say(what: str) -> None:
    click.echo(what, err=True)


def _chosen(
    known: Sequence[T], names: Sequence[str], given: Sequence[object], option: str
) -> Sequence[T]:
    """Return those whose names are given, or all."""
    wanted = [str(name) for name in given]
    for name in wanted:
        if name not in names:
            raise click.UsageError(f"{option} {name} is unknown; choose of {', '.join(names)}.")
    return [one for one, name in zip(known, names, strict=True) if not wanted or name in wanted]


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.gpu")
