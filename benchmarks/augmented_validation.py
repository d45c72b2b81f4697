"""Measures classifiers on their validation pictures, plain and augmented once as in training.

The study `blocks` augmented its validation pictures, so that its figures compare with the second
column. The served graphs answer, on ONNX Runtime.

    python -m benchmarks.augmented_validation blocks-plain blocks-residual
"""

import sys

import click
import numpy as np
import torch

from artifacts import Artifact, Runtime, VitrineError
from training.augment import change
from training.data import load_splits
from training.evaluate import run_logits
from training.recipe import load_recipe

BATCH = 500
"""Pictures that are augmented at a time."""


def accuracies(name: str) -> tuple[int, float, float]:
    """Measure a model by the recipe and the profile that its manifest names.

    Returns:
        Number of validation pictures, accuracy on them (0..1), and accuracy on them augmented.

    Raises:
        VitrineError: There is no such artifact, it is no classifier that a recipe trained, or its
            data set is missing.
    """
    artifact = Artifact.open(name)
    if artifact.manifest.recipe is None or artifact.manifest.task != "classification":
        raise VitrineError(f"{name} is no classifier that a recipe trained; name one that is.")
    recipe = load_recipe(artifact.manifest.recipe.name, artifact.manifest.recipe.profile)
    split = load_splits(recipe.data, recipe.seed).validation
    generator = torch.Generator().manual_seed(recipe.seed)
    batches = [
        change(split.images[part], part, recipe, generator, 0).float().round().clamp(0, 255).byte()
        for part in torch.split(torch.arange(len(split)), BATCH)
    ]
    runtime, labels = Runtime.open(artifact), split.labels.numpy()
    plain, augmented = (
        float(np.mean(run_logits(runtime, pictures.numpy()).argmax(1) == labels))
        for pictures in (split.images, torch.cat(batches))
    )
    return len(split), plain, augmented


@click.command()
@click.argument("names", nargs=-1, required=True)
def main(names: tuple[str, ...]) -> None:
    """Print a table with a row for each of the models NAMES."""
    print("| model | pictures | plain | augmented once |\n|---|---|---|---|")
    for name in names:
        count, plain, augmented = accuracies(name)
        print(f"| {name} | {count:,} | {plain:.4f} | {augmented:.4f} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except VitrineError as error:
        sys.exit(str(error))
