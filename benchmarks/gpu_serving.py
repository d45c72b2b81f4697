"""The servers over HTTP, each with one network and several numbers of connections."""

import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from artifacts import Artifact, VitrineError
from artifacts.provenance import cores
from benchmarks.card import Card, watched
from benchmarks.gpu_limit import InProcess, Network
from benchmarks.gpu_rows import Row, Table
from benchmarks.load import Load, drive
from benchmarks.pictures import GPU_TOLERANCE, TOLERANCE, CheckedRequests
from benchmarks.servers import START_TIMEOUT, Provider, Running, Setting, running

MINIMUM = 12.0
"""Seconds below which no server is started any more; most take as long to start on a GPU."""
BATCH = 32
"""Pictures that BentoML and LitServe may run together."""
WARM_UP = 0.25
"""Duration of the warm-up before a measurement, as a share of the measured seconds."""
PACKAGES = {"LitServe": "litserve"}
"""Packages of peers that the project itself does not need."""
INSTALL = "pip install -c constraints.txt -e '.[serve,bench]'"
UP = "the time was up"


def settings(names: Sequence[str]) -> list[Setting]:
    """Return the settings to compare, the most important ones first.

    First come the defaults, then what may suit a peer better: several processes that decode, and
    batches where the peer knows them.

    Args:
        names: of the servers.
    """
    several = min(8, cores())
    chosen = [
        *map(Setting, ("Vitrine", "FastAPI", "BentoML", "LitServe")),
        Setting("FastAPI", several, 1),
        Setting("BentoML", several, 1, BATCH),
        Setting("LitServe", several, 1, BATCH),
    ]
    return [setting for setting in chosen if setting.server in names]


def defaults(names: Sequence[str]) -> list[Setting]:
    """Return the servers with their defaults alone."""
    return [setting for setting in settings(names) if not setting.workers]


def is_installed(setting: Setting) -> bool:
    """Whether the package of a peer is there."""
    package = PACKAGES.get(setting.server)
    return package is None or find_spec(package) is not None


def measure(
    network: Network,
    artifact: Artifact,
    setting: Setting,
    found: InProcess,
    connections: Sequence[int],
    seconds: float,
    table: Table,
    card: Card | None,
) -> None:
    """Start a server, and add a row for each number of connections that there is time for.

    Args:
        network: the network, for the names of rows.
        artifact: its model.
        setting: the server.
        found: the pictures to send, and the provider of the peers.
        connections: numbers of connections.
        seconds: duration of one measurement.
        table: takes the rows, and says how much time there is.
        card: to be read meanwhile.
    """
    what = f"HTTP, {network.title}, {setting.name}"
    if not is_installed(setting):
        table.miss(what, f"not installed; install it by: {INSTALL}")
        return
    if table.budget.left < MINIMUM:
        table.miss(what, UP)
        return
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copytree(artifact.path, folder / "models" / artifact.manifest.name)
            limit = min(START_TIMEOUT, table.budget.left)
            with running(setting, artifact, folder, found.provider, limit) as server:
                for count in connections:
                    if table.budget.left < seconds * (1 + WARM_UP):
                        table.miss(f"{what}, {count} connections", UP)
                        continue
                    server.reset_peak()
                    with watched(server.process, card) as use:
                        load = _drive(server, setting, artifact, found, count, seconds)
                    table.add(
                        Row(
                            "HTTP",
                            network.title,
                            setting.name,
                            f"{count} connections",
                            pictures_per_second=load.requests / load.seconds,
                            p50=load.p50 if load.requests else None,  # not NaN, for JSON
                            p99=load.p99 if load.requests else None,
                            errors=load.errors,
                            host_mb=use.host_mb,
                            card_mb=use.card_mb,
                            card_busy=use.card_busy,
                        )
                    )
    except VitrineError as error:
        table.miss(what, str(error).strip().splitlines()[-1])


def _drive(
    server: Running,
    setting: Setting,
    artifact: Artifact,
    found: InProcess,
    connections: int,
    seconds: float,
) -> Load:
    vitrine = setting.server == "Vitrine"
    path = "/classify"
    if vitrine:
        path = f"/v1/models/{artifact.manifest.name}/classify"
    elif setting.server == "BentoML" and setting.batch:
        path = "/classify_batch"
    tolerance = TOLERANCE if found.provider.name == Provider().name else GPU_TOLERANCE
    checked = CheckedRequests(
        artifact, found.pictures, path, 1, vitrine=vitrine, tolerance=tolerance
    )
    return drive(
        server.port,
        checked.requests,
        connections,
        warm_up=WARM_UP * seconds,
        seconds=seconds,
        check=checked.is_right,
    )
