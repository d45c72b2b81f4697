"""The graph in process, without a server, measured in a process of its own."""

import multiprocessing
import time
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from artifacts import Artifact, Runtime, VitrineError
from artifacts.pictures import Picture, upright_rgb
from benchmarks.card import Card, Use, watched
from benchmarks.limit import limit
from benchmarks.load import Load, percentile
from benchmarks.pictures import Pictures, make_pictures
from benchmarks.servers import Provider

SAME = ("cudnn_conv_algo_search", "arena_extend_strategy", "use_tf32")
"""Options of a provider that peers get, too: they change the speed and the rounding."""
BATCHES = (1, 32, 256)
"""Numbers of prepared pictures in a batch."""
CALLS = (1, 64)
"""Numbers of JPEGs in a call."""


@dataclass(frozen=True)
class Network:
    """A network that is served, and the side of the pictures that are sent to it."""

    model: str
    side: int

    @property
    def title(self) -> str:
        """Such as `cifar10-fast at 32 px`."""
        return f"{self.model} at {self.side} px"


@dataclass
class InProcess:
    """What the servers need, and what was measured without one."""

    pictures: Pictures
    provider: Provider
    loads: dict[str, tuple[Load, int]] = field(default_factory=dict)
    """By title: the load, and the number of pictures in each of its calls."""


def resized(network: Network, root: Path) -> Artifact:
    """Copy a model below `root`, so that pictures of the network's side enter its graph unchanged.

    Raises:
        ArtifactError: there is no such model.
    """
    source = Artifact.open(network.model)
    policy = source.manifest.input.model_copy(update={"native_side": (network.side, network.side)})
    manifest = source.manifest.model_copy(update={"input": policy})
    return Artifact.save(manifest, source.contents(), root / str(network.side))


def measure(artifact: Artifact, seconds: float) -> InProcess:
    """Make the pictures, find the provider, and run the graph in loops of some seconds each.

    Prepared pictures run in batches, in one thread. JPEGs are decoded and run with the better of
    two numbers of threads.
    """
    pictures = make_pictures(artifact, None, mixed=False)
    runtime = Runtime.open(artifact)
    found = InProcess(pictures, _provider(runtime))
    shown = [upright_rgb(Image.open(BytesIO(content))) for content in pictures.contents]
    prepared = np.stack([runtime.prepare(picture) for picture in shown])  # (N, H, W, 3)
    for size in BATCHES:
        batch = np.resize(prepared, (size, *prepared.shape[1:]))
        found.loads[f"prepared pictures, {size} a batch"] = _repeat(runtime, batch, seconds), size
    del runtime
    for each in CALLS:
        found.loads[f"JPEGs, {each} a call"] = limit(artifact, pictures, each, seconds), each
    return found


def measure_apart(
    artifact: Artifact, each_seconds: float, seconds: float, card: Card | None
) -> tuple[InProcess, Use]:
    """Call `measure` in a process of its own, whose memory on the card is free at its end.

    Args:
        artifact: the model.
        each_seconds: duration of each measurement.
        seconds: time after which the process is ended.
        card: to be read meanwhile.

    Raises:
        VitrineError: it failed, or was not done in time.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, artifact, each_seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        with watched(psutil.Process(process.pid), card) as use:
            if not ours.poll(seconds):
                raise VitrineError("the time was up")
            found: InProcess | str = ours.recv()
    except EOFError:
        raise VitrineError("its process ended without a result") from None
    finally:
        process.kill()
        process.join()
    if isinstance(found, str):
        raise VitrineError(found)
    return found, use


def _send(connection: Connection, artifact: Artifact, seconds: float) -> None:
    try:
        found: InProcess | str = measure(artifact, seconds)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is named in the table
        found = f"{type(error).__name__}: {error}"
    connection.send(found)


def _provider(runtime: Runtime) -> Provider:
    session: Any = runtime._session  # noqa: SLF001
    session = session._session  # noqa: SLF001
    name = str(session.get_providers()[0])
    options = session.get_provider_options()[name]
    return Provider(name, {key: str(options[key]) for key in SAME if key in options})


def _repeat(runtime: Runtime, batch: Picture, seconds: float) -> Load:
    runtime.run_batch(batch, ["logits"])
    latencies: list[float] = []
    begin = now = time.perf_counter()
    while now < begin + seconds:
        before = now
        runtime.run_batch(batch, ["logits"])
        now = time.perf_counter()
        latencies.append(now - before)
    latencies.sort()
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return Load(len(latencies), 0, now - begin, p50, p99)
