"""Compares the speed of the server with other servers, and with the same work without a server.

    python -m benchmarks.serving --models cifar10-fast,ladder-b

Everything runs on loopback, with the client on the same cores. All servers have the same model file
and get the same pictures, and every answer is checked. All servers run throughout and are measured
one at a time, in alternation: the speed of a shared machine changes within minutes, so that ratios
are reliable only within one round. The program may be interrupted at any time: measurements are
stored in the CSV file and are not repeated. Delete the file to start over.
"""

import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import code_version, cores, hardware
from benchmarks.cells import LIMIT, LOADS, Cell, LoadKind, add_cell, read_cells
from benchmarks.limit import limit
from benchmarks.load import Load, drive
from benchmarks.pictures import CheckedRequests, Pictures, make_pictures
from benchmarks.servers import Running, Setting, running, settings
from benchmarks.tables import table

WARM_UP = 0.25
"""Duration of the warm-up before a measurement, as a share of the measured seconds."""


@click.command()
@click.option(
    "--models",
    default="cifar10-fast,ladder-b",
    show_default=True,
    help="Classifiers, separated by commas.",
)
@click.option("--seconds", default=2.0, show_default=True, help="Duration of one measurement.")
@click.option(
    "--rounds", default=5, show_default=True, help="Number of rounds; their median is shown."
)
@click.option(
    "--loads",
    default=",".join(LOADS),
    show_default=True,
    help="Loads to measure, separated by commas.",
)
@click.option(
    "--servers",
    default="limit,Vitrine,FastAPI,BentoML,LitServe",
    show_default=True,
    help="Servers to measure, separated by commas.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs to send; by default, pictures are generated.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("reports/benchmarks/serving.csv"),
    show_default=True,
)
def main(
    models: str,
    seconds: float,
    rounds: int,
    loads: str,
    servers: str,
    images: Path | None,
    output: Path,
) -> None:
    """Measure what is not in the CSV file yet, and print the tables."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are stopped, too
    wanted = _choose(loads, list(LOADS), "--loads")
    kinds = _choose(servers, ["limit", "Vitrine", "FastAPI", "BentoML", "LitServe"], "--servers")
    names = models.split(",")
    for name in names:
        artifact = Artifact.open(name)
        if artifact.manifest.task != "classification":
            raise click.UsageError(
                f"{name} is no classifier; only models that give each picture one class can be "
                "measured."
            )
        _measure(artifact, wanted, kinds, seconds, rounds, images, output)
    cells = read_cells(output)
    parts = [f"{hardware()}; median of {rounds} rounds of {seconds:g} s"]
    for name in names:
        parts += [f"`{name}`:", table([cell for cell in cells if cell.model == name], cores())]
    text = "\n\n".join(parts) + "\n"
    output.with_suffix(".md").write_text(text, encoding="utf-8")
    click.echo("\n" + text)


def _choose(given: str, known: Sequence[str], option: str) -> list[str]:
    chosen = given.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise click.UsageError(f"{option}: {unknown[0]!r} is unknown; choose of {','.join(known)}.")
    return [name for name in known if name in chosen]


def _measure(
    artifact: Artifact,
    loads: Sequence[str],
    kinds: Sequence[str],
    seconds: float,
    rounds: int,
    images: Path | None,
    output: Path,
) -> None:
    """Measure the missing cells of one model."""
    name = artifact.manifest.name
    done = {cell.key for cell in read_cells(output)}
    chosen = [setting for setting in settings() if setting.server in kinds]
    names = [*([LIMIT] if "limit" in kinds else []), *(setting.name for setting in chosen)]
    missing = [
        (load, number, server)
        for load in loads
        for number in range(rounds)
        for server in names
        if (name, server, load, number) not in done
    ]
    if not missing:
        return
    pictures = {
        mixed: make_pictures(artifact, images, mixed=mixed)
        for mixed in {LOADS[load].mixed for load in loads}
    }
    with ExitStack() as stack:
        servers = {
            setting.name: (setting, stack.enter_context(_started(setting, artifact)))
            for setting in chosen
            if any(server == setting.name for *_, server in missing)
        }
        for load, number, server in missing:
            kind = LOADS[load]
            shown = pictures[kind.mixed]
            memory = 0.0
            if server == LIMIT:
                found = limit(artifact, shown, kind.each, seconds)
            else:
                setting, running_one = servers[server]
                running_one.reset_peak()
                found = _drive(running_one.port, setting, artifact, shown, kind, seconds)
                memory = running_one.peak_mb()
            cell = _cell(name, server, load, number, found, memory)
            add_cell(output, cell)
            click.echo(
                f"{name}, {server}, {kind.title}: {cell.pictures_per_second:.0f} pictures/s, "
                f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms, {found.errors} errors",
                err=True,
            )


@contextmanager
def _started(setting: Setting, artifact: Artifact) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(artifact.path, Path(folder) / "models" / artifact.manifest.name)
        with running(setting, artifact, Path(folder)) as server:
            yield server


def _cell(model: str, server: str, load: str, number: int, found: Load, memory: float) -> Cell:
    rate = found.requests * LOADS[load].each / found.seconds
    return Cell(
        model=model,
        server=server,
        load=load,
        round=number,
        seconds=round(found.seconds, 3),
        requests=found.requests,
        pictures_per_second=round(rate, 2),
        p50=round(found.p50, 3),
        p99=round(found.p99, 3),
        errors=found.errors,
        memory_mb=round(memory, 1),
        hardware=hardware(),
        code=code_version(),
    )


def _drive(
    port: int,
    setting: Setting,
    artifact: Artifact,
    pictures: Pictures,
    kind: LoadKind,
    seconds: float,
) -> Load:
    vitrine = setting.server == "Vitrine"
    path = f"/v1/models/{artifact.manifest.name}/classify" if vitrine else "/classify"
    checked = CheckedRequests(artifact, pictures, path, kind.each, vitrine=vitrine)
    return drive(
        port,
        checked.requests,
        kind.connections,
        warm_up=WARM_UP * seconds,
        seconds=seconds,
        check=checked.is_right,
    )


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.serving")
