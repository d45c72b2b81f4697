"""How much time computing the frozen layers once saves, beside what it could save at most.

Each system is trained four ways, each in a process of its own so that peak memory is its own:

- study: as the studies wrote it, fp32, every layer in every epoch;
- plain: the project's loop, fp32, without the cache;
- cache: the same with the cache, the epoch that fills it included;
- cache bf16: the same in bf16 (channels last in memory, as always in the project's loop).

(a) plain / cache, beside its arithmetic bound E (p + 3 s) / (p + 3 E s) for E epochs, where p and s
are the forward times of prefix and suffix and a training step costs three forwards of what trains.
(b) study / cache bf16.

Weights and pictures are random: speed depends on neither. Run with nothing else on the machine:
`python -m benchmarks.frozen_prefix`; `--pictures 32 --epochs 2 --side 64` to try it.
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
"""Network and trainable part of each, as `training.networks.backbone` takes them."""
WAYS = ("study", "plain", "cache", "cache bf16", "forward")
CLASSES = 10
WATCHED = 16
"""Pictures validated after each epoch."""


@dataclass(frozen=True)
class Setting:
    """What is trained and how long."""

    system: str
    pictures: int
    epochs: int
    batch_size: int
    side: int


@dataclass(frozen=True)
class Result:
    """What one system took. Times in seconds, memory in GB."""

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
    """(seconds, seconds of the suffix where `way` is forward, peak memory in GB) of one way."""
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
            as_the_studies_did(network, splits.train, recipe)
            seconds = time.perf_counter() - start
        elif way == "forward":
            seconds, suffix = forward_times(network, splits.train, recipe)
        else:
            accelerator = Accelerator(mixed_precision=recipe.precision, cpu=True)
            fit(network, splits, recipe, Path("runs"), accelerator)
            seconds = time.perf_counter() - start
        os.chdir("..")
    return seconds, suffix, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def make_recipe(setting: Setting, way: str) -> Recipe:
    """The recipe of one way."""
    model, train = SYSTEMS[setting.system]
    transformer = "patch16" in model
    arguments = {"img_size": setting.side} if transformer else {}
    half = way == "cache bf16"
    return Recipe(
        name="benchmark",
        title="",
        data=Data("random", WATCHED, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        network=Network("backbone", {"model": model, "train": train, "arguments": arguments}),
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        precision="bf16" if half else "no",
        cache="bf16" if half else "fp32" if way == "cache" else "none",
    )


def random_splits(setting: Setting) -> Splits:
    """Pictures of noise."""
    random = np.random.default_rng(0)
    count = setting.pictures + WATCHED
    pixels = random.integers(0, 256, (count, setting.side, setting.side, 3), dtype=np.uint8)
    labels = random.integers(0, CLASSES, count)
    names = tuple(str(number) for number in range(CLASSES))
    source = ImageSet("random", "train", names, pixels, labels, "0" * 64, synthetic=True)

    def part(chosen: slice) -> Split:
        images = pixels[chosen]
        return Split(torch.from_numpy(images), torch.from_numpy(labels[chosen]), images)

    return Splits(part(slice(WATCHED, None)), part(slice(WATCHED)), source)


def as_the_studies_did(network: Classifier, split: Split, recipe: Recipe) -> None:
    """Fp32, every layer in every epoch, planes one after another in memory."""
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
    """Seconds that one epoch's forward takes in prefix and suffix, fp32."""
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
    """Train one system in every way."""
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
    """Times, ratios and peak memory, a line per system."""
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
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    pictures: int,
    epochs: int,
    batch_size: int,
    side: int,
    systems: tuple[str, ...],
    path: Path | None,
) -> None:
    """Measure what frozen-prefix training saves, for some or all systems."""
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
