"""How often the models of CIFAR-10 are right about real photographs, before and after a policy.

    python -m benchmarks.real_photographs collect UNPACKED FOLDER
    python -m benchmarks.real_photographs measure FOLDER

`collect` copies the sample photographs of packages to FOLDER/GROUP/KIND: `whole` ones, and
`cutout` ones, which are animals and vehicles on white. UNPACKED is where these were unpacked:

    pip download --no-deps foolbox==3.3.4 alibi==0.9.6 scikit-image==0.26.0
    apt-get download gcompris-qt-data tuxpaint-stamps-default    # Debian 12: 3.1-2, 2022.06.04-1
    for file in *.whl; do unzip -o $file; done; tar xzf alibi/data/cats.tar.gz
    for file in *.deb; do dpkg-deb -x $file .; done

The input policy of cifar10-lite0 was chosen on these photographs. `measure` adds crops of 200 test
pictures of Stanford Cars, without vans and pickups, which CIFAR-10 has in no class. It compares the
policy of each model with the same without `detail` and `max_aspect`.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from artifacts import Artifact, Runtime, probabilities
from artifacts.calibration import BINS
from artifacts.commands import run_command
from artifacts.datasets import data_root
from artifacts.intervals import interval
from artifacts.pictures import Picture, read_picture
from artifacts.provenance import hardware

MODELS = "cifar10-fast,cifar10-lite0"
CARS, SEED = 200, 0
NO_CARS = (" Cab", "Van", "Pickup")
GCOMPRIS = "usr/share/gcompris-qt/rcc"
TUX_PAINT = "usr/share/tuxpaint/stamps"
LEAST_STAMP = 15_000
"""Bytes of a stamp; smaller ones are drawings."""
ERASE = "gosling heron kingfisher northern_harrier penguin spoonbills swans toucan"
WHOLE = {
    **dict.fromkeys(map("erase.rcc:{}.webp".format, ERASE.split()), "bird"),
    "erase.rcc:horse.webp": "horse",
    "erase.rcc:kitten.webp": "cat",
    **{
        f"explore_farm_animals.rcc:{name}.webp": kind
        for name, kind in (
            ("duck", "bird"),
            ("owl", "bird"),
            ("chicken", "bird"),
            ("horse", "horse"),
            ("cat", "cat"),
            ("dog", "dog"),
        )
    },
    "explore_world_animals.rcc:scarlet_macaw.webp": "bird",
    "explore_world_animals.rcc:moose.webp": "deer",
    "n021*.jpg": "cat",
    "skimage/data/chelsea.png": "cat",
    "foolbox/data/imagenet_00_243.jpg": "dog",
    "foolbox/data/imagenet_16_251.jpg": "dog",
    "foolbox/data/imagenet_1[457]_*.jpg": "bird",
    "foolbox/data/imagenet_0[67]_609.jpg": "automobile",
}
"""Kinds of whole photographs, by RESOURCES:NAME of GCompris or by a pattern of files."""
CUTOUT = {
    "animals/birds/*.png": "bird",
    "animals/amphibians/frog*.png": "frog",
    "animals/mammals/deer/*.png": "deer",
    "animals/mammals/dogs/dog.png": "dog",
    "animals/mammals/equines/horse.png": "horse",
    "vehicles/flight/planes/747.png": "airplane",
    "military/vehicles/f22_raptor.png": "airplane",
    "vehicles/emergency/firetruck.png": "truck",
    "vehicles/garbagetruck.png": "truck",
    "vehicles/ship/chineseJunk.png": "ship",
}
"""Kinds of stamps of Tux Paint, by a pattern of files."""


@click.group()
def main() -> None:
    """Measure real photographs."""


@main.command("collect")
@click.argument("unpacked", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def collect_command(unpacked: Path, folder: Path) -> None:
    """Copy the sample photographs of packages, sorted by kind."""
    found = list(_found(unpacked))
    for group, kind, name, content in found:
        own = folder / group / kind
        own.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content)
    click.echo(f"{folder}: {len(found)} photographs")


@main.command("measure")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--models", default=MODELS, show_default=True)
def measure_command(folder: Path, models: str) -> None:
    """Print the share of right answers of each kind, without and with the policy."""
    click.echo(f"{hardware()}; share that is right, with 95 % interval; expected calibration error")
    for name in models.split(","):
        artifact = Artifact.open(name)
        groups = {path.name: _of_folder(path) for path in sorted(folder.iterdir())}
        groups["crops of cars"] = [("automobile", picture) for picture in _cars()]
        policy = artifact.manifest.input
        plain = policy.model_copy(update={"detail": None, "max_aspect": None})
        graph = artifact.read_graph()
        runtimes = [Runtime(graph, each, 1) for each in (plain, policy)]
        click.echo(f"\n| {name} | number | before | after | ECE before | after |")
        click.echo("|---|---|---|---|---|---|")
        for group, pictures in groups.items():
            _print_group(group, pictures, artifact, runtimes)


def _print_group(
    group: str, pictures: list[tuple[str, Picture]], artifact: Artifact, runtimes: list[Runtime]
) -> None:
    classes, temperature = artifact.manifest.classes, artifact.manifest.temperature
    truth = np.array([classes.index(kind) for kind, _ in pictures])
    shares = [
        probabilities(r.run([p for _, p in pictures], ["logits"])["logits"], temperature)
        for r in runtimes
    ]
    errors = [
        float(
            multiclass_calibration_error(
                torch.from_numpy(each), torch.from_numpy(truth), len(classes), BINS
            )
        )
        for each in shares
    ]
    kinds = np.unique(truth).tolist()
    for kind in [None, *(kinds if len(kinds) > 1 else [])]:
        own = truth >= 0 if kind is None else truth == kind
        cells = [_cell(each.argmax(1)[own] == truth[own]) for each in shares]
        label = group if kind is None else f"{group}: {classes[kind]}"
        calibration = [f"{error:.3f}" if kind is None else "" for error in errors]
        click.echo(f"| {label} | {own.sum()} | {' | '.join([*cells, *calibration])} |")


def _cell(right: np.ndarray) -> str:
    low, high = interval(int(right.sum()), len(right))
    return f"{right.mean():.3f} ({low:.3f} to {high:.3f})"


def _of_folder(folder: Path) -> list[tuple[str, Picture]]:
    return [(path.parent.name, read_picture(path)) for path in sorted(folder.glob("*/*"))]


def _cars() -> list[Picture]:
    files = sorted((data_root() / "stanford_cars" / "test").glob("*/*"))
    kept = [f for f in files if not any(word in str(f) for word in NO_CARS)]
    chosen = np.random.default_rng(SEED).permutation(len(kept))[:CARS]
    return [read_picture(kept[i]) for i in chosen]


def _found(unpacked: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield group, kind, name and content of each photograph."""
    for place, kind in WHOLE.items():
        resources, _, name = place.rpartition(":")
        if resources:
            content = _resource(unpacked / GCOMPRIS / resources, name)
            yield "whole", kind, f"{Path(resources).stem}-{name}", content
            continue
        for path in sorted(unpacked.glob(place)):
            yield "whole", kind, path.name, path.read_bytes()
    for pattern, kind in CUTOUT.items():
        for path in sorted((unpacked / TUX_PAINT).glob(pattern)):
            if path.stat().st_size > LEAST_STAMP and "mirror" not in path.name:
                yield "cutout", kind, path.name, path.read_bytes()


def _resource(path: Path, name: str) -> bytes:
    """Return the content of a file in Qt's binary resources, which is stored uncompressed.

    A node of the tree has the place of its name, flags, a country, a language and the place of its
    content, and from version 2 on a date: 22 bytes.
    """
    data = path.read_bytes()
    _, tree, contents, names = struct.unpack_from(">IIII", data, 4)
    for node in range(tree, len(data) - 21, 22):
        place, _, _, _, content = struct.unpack_from(">IHHHI", data, node)
        if names + place + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, names + place)
        text = data[names + place + 6 : names + place + 6 + 2 * length]
        if text == name.encode("utf-16-be"):
            (size,) = struct.unpack_from(">I", data, contents + content)
            return data[contents + content + 4 : contents + content + 4 + size]
    raise click.ClickException(f"{path} has no {name}; unpack version 3.1-2 of gcompris-qt-data")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.real_photographs")
