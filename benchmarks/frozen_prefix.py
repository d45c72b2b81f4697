"""Measures the time that is saved by computing the frozen layers once, and its upper bound.

Each system is trained in four ways, each in a process of its own to measure its peak memory:

- study: as in the studies, fp32, with every layer computed in every epoch;
- plain: with the project's loop, fp32, without the cache;
- cache: the same with the cache, including the epoch that fills it;
- cache bf16: the same in bf16. The project's loop always uses the channels-last memory format.

Two ratios are reported. (a) is plain / cache, with its theoretical bound E (p + 3 s) / (p + 3 E s)
for E epochs, where p and s are the times of a forward pass through the prefix and the suffix; a
training step costs as much as three forward passes through the trained part. (b) is study / cache
bf16.

Weights and pictures are random, because the speed depends on neither. Run
`python -m benchmarks.frozen_prefix` with nothing else on the machine, or try it out with
`--pictures 32 --epochs 2 --side 64`.
"""

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from torch import nn

from artifacts.datasets import ImageSet
from artifacts.provenance import hardware
from training.data import Split, Splits
from training.device import used_precision
from training.faces.sampling import epoch_batches
from training.frozen_prefix.cut import cut
from training.inputs import Pictures
from training.loop import fit
from training.networks import Classifier, build
from training.optim import make_optimizer
from training.recipe import Recipe
from training.settings import Data, Network

SYSTEMS: dict[str, tuple[str, str]] = {
    "resnet50 head": ("resnet50", "head"),
    "resnet50 last stage": ("resnet50", "last-stage"),
    "densenet201 one block": ("densenet201", "features.denseblock4.denselayer16"),
    "deit-b one block": ("deit_base_distilled_patch16_224", "blocks.11"),
    "lite0 one block": ("tf_efficientnet_lite0", "last-block"),
}
"""Network and trainable part of each system; see `training.networks.backbone`."""
WAYS = ("study", "plain", "cache", "cache bf16", "forward")
"""The four ways of training, and a measurement of the forward passes alone."""
CLASSES = 10
VALIDATION_PICTURES = 16
"""Number of pictures that are validated after each epoch."""


@dataclass(frozen=True)
class Setting:
    """The system that is trained, the pictures, and the number of epochs."""

    system: str
    pictures: int
    epochs: int
    batch_size: int
    side: int


@dataclass(frozen=True)
class Result:
    """Results for one system. Times are in seconds, memory is in GB."""

    system: str
    study: float
    plain: float
    cache: float
    cache_bf16: float
    prefix: float
    suffix: float
    memory: dict[str, float]
    bound: float
    same_precision: float
    """(a): plain / cache."""
    share_of_bound: float
    against_study: float
    """(b): study / cache bf16."""


def measure(setting: Setting, way: str) -> tuple[float, float, float]:
    """Measure one way.

    Returns:
        Seconds, seconds of the suffix (0 unless `way` is forward), and peak memory in GB.
    """
    torch.manual_seed(0)
    recipe = make_recipe(setting, way)
    network = build(recipe.network, CLASSES)
    splits = random_splits(setting)
    suffix = 0.0
    with tempfile.TemporaryDirectory(dir=".") as folder:
        os.chdir(folder)
        Path("runs").mkdir()
        start = time.perf_counter()
        if way == "study":
            train_like_the_studies(network, splits.train, recipe)
            seconds = time.perf_counter() - start
        elif way == "forward":
            seconds, suffix = forward_times(network, splits.train, recipe)
        else:
            accelerator = Accelerator(mixed_precision=used_precision(recipe.precision), cpu=True)
            fit(network, splits, recipe, Path("runs"), accelerator)
            seconds = time.perf_counter() - start
        os.chdir("..")
    return seconds, suffix, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def make_recipe(setting: Setting, way: str) -> Recipe:
    """Return the recipe for one way."""
    model, train = SYSTEMS[setting.system]
    transformer = "patch16" in model
    arguments = {"img_size": setting.side} if transformer else {}
    half = way == "cache bf16"
    return Recipe(
        name="benchmark",
        title="",
        data=Data("random", VALIDATION_PICTURES, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        network=Network("backbone", {"model": model, "train": train, "arguments": arguments}),
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        precision="bf16" if half else "no",
        cache="bf16" if half else "fp32" if way == "cache" else "none",
    )


def random_splits(setting: Setting) -> Splits:
    """Return splits of random pictures."""
    random = np.random.default_rng(0)
    count = setting.pictures + VALIDATION_PICTURES
    pixels = random.integers(0, 256, (count, setting.side, setting.side, 3), dtype=np.uint8)
    labels = random.integers(0, CLASSES, count)
    names = tuple(str(number) for number in range(CLASSES))
    source = ImageSet("random", "train", names, pixels, labels, "0" * 64, synthetic=True)

    def part(chosen: slice) -> Split:
        images = pixels[chosen]
        return Split(torch.from_numpy(images), torch.from_numpy(labels[chosen]), images)

    validation = slice(VALIDATION_PICTURES)
    return Splits(part(slice(VALIDATION_PICTURES, None)), part(validation), source)


def train_like_the_studies(network: Classifier, split: Split, recipe: Recipe) -> None:
    """Train in fp32 with every layer in every epoch, in the channels-first memory format."""
    optimizer = make_optimizer(network, recipe.optimizer)
    pictures = Pictures(split, recipe, torch.device("cpu"))
    network.train()
    for epoch in range(recipe.epochs):
        for indices in epoch_batches(
            split.labels, recipe.batch_size, recipe.loss, seed=0, epoch=epoch
        ):
            images = pictures.plain(indices)[0].contiguous()
            logits = network(images)
            heads = logits[:, None] if logits.ndim == 2 else logits  # noqa: PLR2004
            losses = [
                nn.functional.cross_entropy(h, split.labels[indices]) for h in heads.unbind(1)
            ]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def forward_times(network: Classifier, split: Split, recipe: Recipe) -> tuple[float, float]:
    """Return the seconds of the forward passes of an epoch in prefix and suffix, in fp32."""
    network.to(memory_format=torch.channels_last)
    pictures = Pictures(split, recipe, torch.device("cpu"))
    prefix, suffix = cut(network, pictures.plain(torch.arange(2))[0])
    network.eval()
    seconds = [0.0, 0.0]
    for indices in epoch_batches(split.labels, recipe.batch_size, recipe.loss, seed=0, epoch=0):
        start = time.perf_counter()
        boundary = prefix(*pictures.plain(indices))
        middle = time.perf_counter()
        suffix(*boundary)
        seconds[0] += middle - start
        seconds[1] += time.perf_counter() - middle
    return seconds[0], seconds[1]


def compare(setting: Setting) -> Result:
    """Measure one system in every way."""
    seconds: dict[str, float] = {}
    memory: dict[str, float] = {}
    suffix = 0.0
    for way in WAYS:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            seconds[way], suffix, memory[way] = process.submit(measure, setting, way).result()
        print(f"{setting.system}, {way}: {seconds[way]:.1f} s", file=sys.stderr)
    prefix, epochs = seconds["forward"], setting.epochs
    bound = epochs * (prefix + 3 * suffix) / (prefix + 3 * epochs * suffix)
    ratio = seconds["plain"] / seconds["cache"]
    return Result(
        system=setting.system,
        study=seconds["study"],
        plain=seconds["plain"],
        cache=seconds["cache"],
        cache_bf16=seconds["cache bf16"],
        prefix=prefix,
        suffix=suffix,
        memory=memory,
        bound=bound,
        same_precision=ratio,
        share_of_bound=ratio / bound,
        against_study=seconds["study"] / seconds["cache bf16"],
    )


def table(results: list[Result]) -> Table:
    """Return a table of times, ratios and peak memory, with a row per system."""
    found = Table("system", "study s", "plain s", "cache s", "cache bf16 s", "(a)", "bound")
    for column in ("share of bound", "(b)", "peak GB: study", "cache", "cache bf16"):
        found.add_column(column)
    for r in results:
        times = (r.study, r.plain, r.cache, r.cache_bf16)
        peaks = (r.memory[way] for way in ("study", "cache", "cache bf16"))
        ratios = (r.same_precision, r.bound, r.share_of_bound, r.against_study)
        cells = [f"{x:.1f}" for x in times] + [f"{x:.2f}" for x in (*ratios, *peaks)]
        found.add_row(r.system, *cells)
    return found


@click.command()
@click.option("--pictures", default=320, show_default=True, help="Pictures to train on.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--side", default=224, show_default=True, help="Width and height of a picture, px.")
@click.option("--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)))
@click.option(
    "--json", "path", type=click.Path(path_type=Path), help="File to write the results to as JSON."
)
def main(
    pictures: int,
    epochs: int,
    batch_size: int,
    side: int,
    systems: tuple[str, ...],
    path: Path | None,
) -> None:
    """Measure the time that frozen-prefix training saves, for some or all systems."""
    results = [
        compare(Setting(system, pictures, epochs, batch_size, side))
        for system in systems or SYSTEMS
    ]
    console = Console(width=150)
    console.print(
        f"{pictures} pictures of {side} px, {epochs} epochs, random weights; {hardware()}"
    )
    console.print(table(results))
    if path is not None:
        path.write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
