"""Accuracy on cars with scenery around them, and the time per picture.

    python -m benchmarks.framing

With a margin m, a picture is (1 + m) times as wide and as high as the crop in it, whose place is
random. The scenery comes from the two sample photographs of scikit-learn and from portraits, which
no recipe trains with: from their left halves and the people of the training split for validation
pictures, from their right halves and the people of the test split for test pictures. Both graphs of
other folders of artifacts can be measured in the same run, in turns.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np
import torch
from sklearn.datasets import load_sample_images

from artifacts import Artifact, Runtime
from artifacts.commands import run_command
from artifacts.datasets import load
from artifacts.datasets.base import take
from artifacts.pictures import Picture
from artifacts.provenance import hardware
from training.data import hold_out, load_test
from training.evaluate import run_logits
from training.recipe import load_recipe
from training.scenery import Framed, Photographs

RECIPE = "cars-lite0-finetuned"
PORTRAITS = "faces/celeba"
COUNT = 200
"""Number of portraits, and of times that each sample photograph is among the scenery."""
TIMED = 60
"""Pictures whose time is measured, in turns, one by one on one thread."""
SOFT = 0.1
"""Share of a crop's sides over which it fades into the scenery, where seams are soft."""


def scenery(split: str) -> Photographs:
    """Return the scenery for pictures of a split, validation or test."""
    samples = []
    for photograph in load_sample_images().images:
        middle = photograph.shape[1] // 2
        samples.append(photograph[:, middle:] if split == "test" else photograph[:, :middle])
    people = load(PORTRAITS, "test" if split == "test" else "train")
    chosen = np.random.default_rng(0).permutation(len(people))[:COUNT]
    return Photographs([*samples * COUNT, *(people.images[i] for i in chosen)])


def crops(split: str, count: int, seed: int) -> tuple[list[Picture], np.ndarray]:
    """Return random pictures of a split and their labels; all if there are fewer."""
    recipe = load_recipe(RECIPE)
    source, held_out = hold_out(recipe.data, recipe.seed)
    chosen = held_out.numpy()
    if split == "test":
        source = load_test(recipe.data.name, source.classes)
        chosen = np.arange(len(source))
    chosen = np.random.default_rng(seed).permutation(chosen)[:count]
    return list(take(source.images, chosen)), source.labels[chosen]


def milliseconds(runtimes: Sequence[Runtime], pictures: Sequence[Picture]) -> list[float]:
    """Return the median time per picture of each runtime, which take turns."""
    times: list[list[float]] = [[] for _ in runtimes]
    for picture in pictures:
        for runtime, mine in zip(runtimes, times, strict=True):
            begun = perf_counter()
            runtime.run([picture], ["logits"])
            mine.append(perf_counter() - begun)
    return [1e3 * median(mine) for mine in times]


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--split", type=click.Choice(["validation", "test"]), default="test")
@click.option("--margins", default="0,0.2,0.5,1", show_default=True)
@click.option("--pictures", default=2000, show_default=True, help="Pictures at each margin.")
@click.option("--seed", default=0, show_default=True, help="Of the pictures and their framing.")
@click.option("--soft", is_flag=True, help="Let the crops fade into the scenery.")
def main(
    folders: Sequence[Path], split: str, margins: str, pictures: int, seed: int, *, soft: bool
) -> None:
    """Measure the served cars model, and the artifacts in FOLDERS beside it.

    Prints a table with a row for each margin: accuracy, and the time per picture.
    """
    torch.set_num_threads(1)
    artifacts = [*(Artifact.open(f.name, f.parent) for f in folders), Artifact.open(RECIPE)]
    runtimes = [Runtime.open(artifact, threads=1) for artifact in artifacts]
    images, labels = crops(split, pictures, seed)
    around = scenery(split)
    names = [str(folder) for folder in folders] + [RECIPE]
    click.echo(f"{hardware()}; {len(images)} {split} pictures, seed {seed}\n")
    heads = [f"{name}: accuracy | ms per picture" for name in names]
    click.echo("| " + " | ".join(["margin", *heads]) + " |")
    click.echo("|" + " --- |" * (2 * len(names) + 1))
    for margin in map(float, margins.split(",")):
        framed = Framed(images, around, margin, seed, SOFT if soft else 0.0)
        times = milliseconds(runtimes, [framed[i] for i in range(min(TIMED, len(framed)))])
        cells = [f"{margin:.0%}"]
        for runtime, time in zip(runtimes, times, strict=True):
            right = run_logits(runtime, framed).argmax(axis=1) == labels
            cells += [f"{right.mean():.4f}", f"{time:.1f}"]
        click.echo("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.framing")
