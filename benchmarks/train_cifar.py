"""Compares `cifar10-scratch` with the study's network in a plain training loop.

The plain loop is that of many tutorials: a `DataLoader` that converts and collates picture by
picture, float32, Adam with a constant learning rate, and batches of 128. Its network is the study's
GAP network. First, this project's loop trains the recipe for whole epochs; then the plain loop
trains for the same number of seconds.

    python -m benchmarks.train_cifar --epochs 4
"""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

from artifacts.commands import run_command
from artifacts.provenance import code_version, cores, hardware
from training.data import Split, Splits, load_splits
from training.inputs import normalise
from training.loop import fit
from training.networks import build
from training.recipe import Recipe, load_recipe
from training.run import INITIAL_PICTURES, make_accelerator

VALIDATION_BATCH = 500


@dataclass(frozen=True)
class Result:
    """The result of one system."""

    system: str
    seconds: float
    """Duration of training, without validation."""
    epochs: float
    validation_accuracy: float

    @property
    def epochs_per_minute(self) -> float:
        """Training speed."""
        return 60 * self.epochs / self.seconds


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures that are converted one at a time from Pillow images to tensors.

    Args:
        split: uint8 N x H x W x 3 and labels.
    """

    def __init__(self, split: Split) -> None:
        self.images = split.images.numpy()
        self.labels = split.labels.tolist()

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a float tensor 3 x H x W in 0..1, and the label."""
        return to_tensor(Image.fromarray(self.images[index])), self.labels[index]


def train_recipe(recipe: Recipe, splits: Splits) -> Result:
    """Train the recipe with this project's loop."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, len(splits.classes))
    network.initialise(normalise(splits.train.images[:INITIAL_PICTURES], recipe))
    with tempfile.TemporaryDirectory() as folder:
        _, history = fit(network, splits, recipe, Path(folder), make_accelerator(recipe))
    seconds = sum(epoch.train_seconds for epoch in history)
    return Result(recipe.name, seconds, len(history), history[-1].validation_accuracy)


def train_plainly(recipe: Recipe, splits: Splits, seconds: float) -> Result:
    """Train the study's network in a plain loop for a number of seconds."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, len(splits.classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(Pictures(splits.train), batch_size=128, shuffle=True, num_workers=cores())
    start, seen = time.perf_counter(), 0
    for images, labels in _forever(loader):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen += len(labels)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            break
    accuracy = _accuracy(network, splits.validation)
    return Result("study's GAP, plain loop", elapsed, seen / len(splits.train), accuracy)


def _forever(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    return itertools.chain.from_iterable(itertools.repeat(loader))


@torch.inference_mode()
def _accuracy(network: torch.nn.Module, split: Split) -> float:
    network.eval()
    pixels = split.images.permute(0, 3, 1, 2).float() / 255  # (N, 3, H, W)
    logits = torch.cat([network(batch) for batch in torch.split(pixels, VALIDATION_BATCH)])
    return float((logits.argmax(1) == split.labels).float().mean())


@click.command()
@click.option("--epochs", default=4, show_default=True, help="Epochs of cifar10-scratch.")
@click.option("--dataset", default="cifar10", show_default=True, help="Data set of 32x32 pictures.")
@click.option("--seed", default=0, show_default=True)
def main(epochs: int, dataset: str, seed: int) -> None:
    """Print both systems and their ratios as JSON."""
    torch.set_num_threads(cores())
    fast, study = load_recipe("cifar10-scratch", "cpu"), load_recipe("cifar10-gap", "full")
    held_out = fast.data.validation if dataset == "cifar10" else 200
    data = replace(fast.data, name=dataset, validation=held_out)
    fast = replace(fast, epochs=epochs, seed=seed, data=data)
    splits = load_splits(fast.data, seed)
    ours = train_recipe(fast, splits)
    plain = train_plainly(replace(study, seed=seed), splits, ours.seconds)
    both = [{**asdict(r), "epochs_per_minute": r.epochs_per_minute} for r in (ours, plain)]
    report = {
        "systems": both,
        "ratio_epochs_per_minute": ours.epochs_per_minute / plain.epochs_per_minute,
        "error_after_the_same_minutes": [1 - r.validation_accuracy for r in (ours, plain)],
        "data": {"name": dataset, "train": len(splits.train), "validation": len(splits.validation)},
        "seed": seed,
        "hardware": hardware(),
        "code": code_version(),
    }
    Console().print_json(json.dumps(report))


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.train_cifar")
