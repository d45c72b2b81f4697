"""Compares imported networks with their own frameworks: the largest difference of probabilities.

Networks with random weights are exported and imported, each with the configuration that its
framework writes, or with options. Their last layer is scaled so that answers about the pictures
are far from uniform and differ, which makes differences of preprocessing visible. The frameworks'
pipelines decode the same JPEG files with Pillow, and run the network in PyTorch or NumPy.

    pip install -c constraints.txt -e '.[train]'
    python -m benchmarks.imports
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from PIL import Image

from artifacts import Artifact, Runtime, probabilities
from artifacts.commands import run_command
from artifacts.datasets import data_root
from artifacts.imports.command import import_command
from artifacts.pictures import read_picture
from benchmarks.foreign_networks import CASES, CLASSES


def photographs(count: int) -> list[Path]:
    """Return photographs of Stanford Cars of different classes, none of which is square."""
    folders = sorted((data_root() / "stanford_cars" / "test").iterdir())
    found = []
    for folder in folders[:: max(1, len(folders) // (2 * count))]:
        for path in sorted(folder.iterdir())[:1]:
            with Image.open(path) as image:
                if image.width != image.height:
                    found.append(path)
    if len(found) < count:
        raise click.ClickException(f"{len(found)} photographs found; {count} are needed.")
    return found[:count]


def imported(file: Path, options: Sequence[str]) -> tuple[Runtime, Artifact]:
    """Import a file with the command, and open the artifact."""
    names = ",".join(f"class {number}" for number in range(CLASSES))
    given = [str(file), "--task", "classification", "--classes", names, "--name", "imported"]
    import_command.main([*given, "--force", *options], standalone_mode=False)
    artifact = Artifact.open("imported")
    return Runtime.open(artifact), artifact


@click.command()
@click.option("--pictures", default=10, show_default=True, help="Number of photographs.")
def main(pictures: int) -> None:
    """Print a table of the differences; the exit status is 1 if one is too large."""
    paths = photographs(pictures)
    photos = [read_picture(path) for path in paths]
    lines = []
    failed = []
    for make in CASES:
        torch.manual_seed(0)
        with TemporaryDirectory() as folder:
            os.environ["VITRINE_ARTIFACTS"] = f"{folder}/models"
            file = Path(folder) / "network.onnx"
            case = make(file, paths)
            runtime, artifact = imported(file, case.options)
            shares = probabilities(runtime.run(photos)["logits"], artifact.manifest.temperature)
            before = runtime.policy.model_copy(
                update={
                    "resize": "squash",
                    "resize_to": None,
                    "interpolation": "bicubic",
                    "antialias": True,
                }
            )
            other = Runtime.open(artifact)
            other.policy = before
            squashed = probabilities(other.run(photos)["logits"], artifact.manifest.temperature)
        difference = float(np.abs(shares - case.shares).max())
        if difference > case.tolerance:
            failed.append(case.title)
        top = float(np.median(case.shares.max(1)))
        classes = len(set(case.shares.argmax(1).tolist()))
        wrong = float(np.abs(squashed - case.shares).max())
        lines.append(
            f"| {case.title} | {case.source} | {top:.2f} | {classes} | {difference:.1e} "
            f"| {wrong:.2g} |"
        )
    click.echo(
        "\n| graph | preprocessing from | likeliest class, median | classes named | largest "
        "difference | if pictures were squashed with bicubic |"
    )
    click.echo("|---|---|---|---|---|---|")
    click.echo("\n".join(lines))
    if failed:
        raise click.ClickException(f"the difference is too large: {', '.join(failed)}.")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.imports")
