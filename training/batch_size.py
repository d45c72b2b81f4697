"""Batch size `auto`: the largest batch that fits the memory of the GPU, and its learning rate."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size
from torch import Tensor, nn

from training.depthwise import fast_depthwise
from training.faces.sampling import epoch_batches
from training.inputs import Source
from training.losses import objective
from training.optim import make_optimizer
from training.recipe import Recipe, RecipeError
from training.recipe_settings import REFERENCE_BATCH

LARGEST = 1024
"""Largest batch that is tried, pictures: larger ones rarely train as well (Keskar et al. 2017,
arXiv 1609.04836)."""
MIN_STEPS = 20
"""Smallest number of batches in an epoch."""


def with_batch_size(recipe: Recipe, size: int) -> Recipe:
    """Return the recipe with a batch size in place of `auto`, and the learning rate for it.

    The recipe's rate is that of `REFERENCE_BATCH` pictures. It grows as the batch for sgd (Goyal et
    al. 2017, arXiv 1706.02677), and as its square root for adam and adamw (Malladi et al. 2022,
    arXiv 2205.10287).
    """
    ratio = size / REFERENCE_BATCH
    factor = ratio if recipe.optimizer.name == "sgd" else ratio**0.5
    optimizer = replace(recipe.optimizer, lr=recipe.optimizer.lr * factor)
    return replace(recipe, batch_size=size, optimizer=optimizer)


def find_batch_size(
    model: nn.Module, source: Source, recipe: Recipe, accelerator: Accelerator
) -> int:
    """Find the batch size of a recipe whose batch size is `auto`.

    Halves of `LARGEST` are tried on a copy of the network, until a step with the largest pictures
    fits. On a CPU, whose memory does not refuse what is too much, it is `REFERENCE_BATCH`.

    Returns:
        Pictures per batch, over all devices together.

    Raises:
        RecipeError: Not even one picture fits.
    """
    most = max(1, len(source.labels) // MIN_STEPS)
    world: int = accelerator.num_processes
    if accelerator.device.type == "cpu":
        return min(REFERENCE_BATCH, most)

    def step(size: int) -> None:
        _step(copy.deepcopy(model), source, with_batch_size(recipe, size * world), accelerator)

    found = largest(step, min(LARGEST, most) // world or 1, recipe.name)
    ours = torch.tensor([found], device=accelerator.device)
    everyones = cast("Tensor", accelerator.gather(ours))
    return world * int(everyones.min())


def largest(step: Callable[[int], None], most: int, name: str) -> int:
    """Return the largest of `most`, a half of it, a quarter of it, ... for which memory suffices.

    Args:
        step: Runs one step of training with so many pictures, and raises what PyTorch does if
            memory does not suffice.
        most: The first number that is tried.
        name: Name of the recipe.

    Raises:
        RecipeError: Not even one picture fits.
    """
    size = most

    def halve() -> int:
        nonlocal size
        size //= 2
        return size

    def attempt(batch_size: int) -> int:
        step(batch_size)
        return batch_size

    try:
        found: int = find_executable_batch_size(
            attempt, starting_batch_size=most, reduce_batch_size_fn=halve
        )()
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        raise RecipeError(
            f"{name}: the memory of the GPU does not suffice for a single picture; end other "
            "programs that use it, or choose smaller pictures or another network."
        ) from None
    return found


def _step(model: nn.Module, source: Source, recipe: Recipe, accelerator: Accelerator) -> None:
    """Run one step of training, with pictures of the largest size."""
    model.train()
    optimizer = make_optimizer(model, recipe.optimizer)
    indices = epoch_batches(
        source.labels,
        recipe.batch_size,
        recipe.loss,
        seed=recipe.seed,
        epoch=0,
        world=accelerator.num_processes,
    )[0]
    inputs = source.largest(len(indices))
    with accelerator.autocast(), fast_depthwise(accelerator.device):
        outputs = model(*inputs)
    labels = source.labels[indices].to(accelerator.device)
    objective(outputs.float(), labels, recipe.loss).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
