"""Figures of single studies, besides the comparison that every study has."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from artifacts import Artifact
from artifacts.figure_style import SLANTED, SMALL, add_legend, bar_style, line_style
from artifacts.names import artifact_names
from training.augment import augment
from training.data import Splits, load_splits
from training.history import SPLITS, read_history
from training.plots import new_figure, png
from training.recipe import Recipe
from training.settings import Augment
from training.study import Row

SAMPLES = 50
DRAWS = 10
AUGMENTATIONS = {
    "flip": ("flip",),
    "jitter": ("jitter",),
    "rotate": ("rotate",),
    "shift": ("shift",),
    "scale": ("scale",),
    "all": tuple(f.name for f in fields(Augment)),
}
"""Rows of the figure of augmentations: the name of each, and the settings that it uses."""


def write_study_figures(
    study: str, recipes: Sequence[Recipe], rows: Sequence[Row], out: Path, origin: str
) -> None:
    """Write the figures of a study into the folder `out`, with `origin` below each."""
    content: dict[str, bytes] = {}
    if study == "blocks":
        recipe = recipes[0]  # all recipes share data and augmentation
        splits = load_splits(recipe.data, recipe.seed)
        content["augmented.png"] = augmented_samples(recipe, splits, origin)
        content["draws.png"] = augmentation_draws(recipe, splits, origin)
        content["validation-classes.png"] = class_distribution(splits, origin)
    if study == "mnist":
        content["test-error.png"] = error_map(rows, origin)
    available = artifact_names()
    trained = [recipe.artifact_name for recipe in recipes if recipe.artifact_name in available]
    if trained:
        content["curves.png"] = curves(study, [Artifact.open(name) for name in trained], origin)
    for name, data in content.items():
        (out / name).write_bytes(data)


def curves(study: str, artifacts: Sequence[Artifact], origin: str) -> bytes:
    """Plot training and validation loss and accuracy, a line per system; returns a PNG."""
    figure = new_figure(f"Study {study}: training and validation", origin, width=11, height=8)
    panels = figure.subplots(2, 2, sharex=True)
    for place, artifact in enumerate(artifacts):
        history = read_history(artifact)
        epochs = [int(row["epoch"]) for row in history]
        style = line_style(place) | {"markersize": 3}
        for line, quantity in zip(panels, ("loss", "accuracy"), strict=True):
            for axes, split in zip(line, SPLITS, strict=True):
                values = [float(row[f"{split}_{quantity}"]) for row in history]
                axes.plot(epochs, values, label=artifact.manifest.name, **style)
                unit = " (0 to 1)" if quantity == "accuracy" else ""
                axes.set(ylabel=f"{SPLITS[split]} {quantity}{unit}")
                axes.grid()
    for axes in panels[1]:
        axes.set_xlabel("epoch")
    add_legend(figure, panels[0, 0])
    return png(figure)


def augmented_samples(recipe: Recipe, splits: Splits, origin: str) -> bytes:
    """Show fifty random training pictures as augmented in the first epoch; returns a PNG."""
    generator = torch.Generator().manual_seed(recipe.seed)
    chosen = torch.randperm(len(splits.train), generator=generator)[:SAMPLES]
    images = augment(splits.train.images[chosen], chosen, recipe, generator, 0)
    labels = [splits.classes[i] for i in splits.train.labels[chosen]]
    title = f"{SAMPLES} random training pictures of {splits.source.name}, augmented"
    figure = new_figure(title, origin, width=10, height=6)
    for axes, image, label in zip(figure.subplots(5, 10).flat, images, labels, strict=True):
        axes.imshow(_pixels(image))
        axes.set_title(label, fontsize=SMALL)
        axes.axis("off")
    return png(figure)


def augmentation_draws(recipe: Recipe, splits: Splits, origin: str) -> bytes:
    """Show ten draws of each augmentation of one picture, and of all together; returns a PNG."""
    generator = torch.Generator().manual_seed(recipe.seed)
    copies = splits.train.images[:1].expand(DRAWS, -1, -1, -1)
    title = f"Ten draws of each augmentation, first training picture of {splits.source.name}"
    figure = new_figure(title, origin, width=10, height=1.1 * len(AUGMENTATIONS))
    grid = figure.subplots(len(AUGMENTATIONS), DRAWS)
    for line, (name, settings) in zip(grid, AUGMENTATIONS.items(), strict=True):
        alone = Augment(**{s: getattr(recipe.augment, s) for s in settings})
        single = replace(recipe, augment=alone)
        images = augment(copies, torch.zeros(DRAWS, dtype=torch.long), single, generator, 0)
        for axes, image in zip(line, images, strict=True):
            axes.imshow(_pixels(image))
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    return png(figure)


def class_distribution(splits: Splits, origin: str) -> bytes:
    """Plot the number of validation pictures of each class; returns a PNG."""
    counts = torch.bincount(splits.validation.labels, minlength=len(splits.classes))
    title = f"Classes of the {int(counts.sum()):,} validation pictures of {splits.source.name}"
    figure = new_figure(title, origin, width=8, height=3.6)
    axes = figure.subplots()
    bars = axes.bar(range(len(splits.classes)), counts.numpy(), **bar_style(0))
    axes.bar_label(bars)
    axes.set_xticks(range(len(splits.classes)), splits.classes, **SLANTED)
    axes.set(xlabel="class", ylabel="pictures")
    axes.margins(y=0.12)
    return png(figure)


def error_map(rows: Sequence[Row], origin: str) -> bytes:
    """Plot the test error of every MNIST combination, or that it diverged; returns a PNG.

    Rows are activations; columns are combinations of loss and optimizer.
    """
    errors = {row.system: np.nan if row.test is None else 1 - row.test for row in rows}
    lines, columns = _axes(list(errors))
    table = np.full((len(lines), len(columns)), np.nan)
    for system, error in errors.items():
        line, column = _row_and_column(system)
        table[lines.index(line), columns.index(column)] = error
    title = "Test error of every combination of activation, loss and optimizer on MNIST"
    figure = new_figure(title, origin, width=9, height=3.6)
    axes = figure.subplots()
    image = axes.imshow(100 * table, cmap="cividis_r", vmin=0, vmax=100, aspect="auto")
    for (y, x), error in np.ndenumerate(table):
        colour = "white" if error > 0.5 else "black"  # noqa: PLR2004
        shown = "diverged" if np.isnan(error) else f"{100 * error:.2f}"
        axes.text(x, y, shown, ha="center", va="center", color=colour)
    axes.set_xticks(range(len(columns)), [c.replace(" ", "\n") for c in columns])
    axes.set_yticks(range(len(lines)), lines)
    axes.set(xlabel="loss and optimizer", ylabel="activation")
    figure.colorbar(image, label="test error (%)")
    return png(figure)


def _row_and_column(system: str) -> tuple[str, str]:
    """Split mnist-ACTIVATION-LOSS-OPTIMIZER into (activation, "loss optimizer")."""
    words = system.removeprefix("mnist-").removesuffix("-smoke")
    activation = next(a for a in ("leaky-relu", "relu", "sigmoid") if words.startswith(a))
    loss, _, optimizer = words.removeprefix(f"{activation}-").rpartition("-")
    return activation, f"{loss} {optimizer}"


def _axes(systems: Sequence[str]) -> tuple[list[str], list[str]]:
    places = [_row_and_column(system) for system in systems]
    return list(dict.fromkeys(p[0] for p in places)), list(dict.fromkeys(p[1] for p in places))


def _pixels(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    return image.float().round().byte().numpy()
