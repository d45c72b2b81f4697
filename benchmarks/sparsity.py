"""Measures the cost of inspecting activations: the probed graph compared with the plain one.

The networks have random weights, on which the cost does not depend. Both graphs run in alternation,
and the CPU time of this process is measured, so that other programs on the machine disturb less.

    python -m benchmarks.sparsity --rounds 10
"""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch

from artifacts import Artifact, InputPolicy, Manifest, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.commands import run_command
from artifacts.provenance import code_version, cores, hardware
from benchmarks.turns import in_turns
from serving.inspection.sparsity import Probe
from training.export import Served, export
from training.networks import build
from training.settings import Network

NETWORKS = ("resnet50", "efficientnet_lite0")
CLASSES = ("one", "other")


def make(network: str, side: int, root: Path) -> Artifact:
    """Make an artifact of a network with random weights, for pictures of side x side px."""
    torch.manual_seed(0)
    classifier = build(Network(name="backbone", options={"model": network}), len(CLASSES))
    policy = InputPolicy(fixed_size=(side, side))
    graph = export(Served(classifier.eval(), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), policy)
    manifest = Manifest.build(
        name=network,
        task="classification",
        classes=CLASSES,
        input=policy,
        code_version=code_version(),
        created=datetime.now(UTC),
    )
    return Artifact.save(manifest, {MODEL_FILE: graph}, root)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--pictures", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--side",
    type=click.IntRange(min=32),
    default=224,
    show_default=True,
    help="Width and height of a picture in pixels.",
)
@click.option(
    "--network", "networks", multiple=True, help="Name of a network in timm; may be repeated."
)
def main(rounds: int, pictures: int, side: int, networks: tuple[str, ...]) -> None:
    """Print a JSON line for each network with the seconds of both graphs and their ratio."""
    random = np.random.default_rng(0)
    shown = list(random.integers(0, 256, (pictures, side, side, 3), np.uint8))
    for network in networks or NETWORKS:
        with TemporaryDirectory() as folder:
            artifact = make(network, side, Path(folder))
            plain, probe = Runtime.open(artifact), Probe(artifact)
            wanted = ["logits", *(name for tap in probe.taps for name in tap.outputs)]
            ways = {
                "plain": partial(plain.run, shown, ["logits"]),
                "probed": partial(probe.runtime.run, shown, wanted),
            }
            seconds = in_turns(ways, rounds)
        result = {
            "network": network,
            "layers": len(probe.taps),
            **{f"{name}_seconds": round(value, 4) for name, value in seconds.items()},
            "ratio": round(seconds["probed"] / seconds["plain"], 3),
            "pictures": pictures,
            "side": side,
            "rounds": rounds,
            "cores": cores(),
            "hardware": hardware(),
            "code_version": code_version(),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.sparsity")
