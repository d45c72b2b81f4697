"""Measures how long a training step takes, from which the number of epochs follows."""

import copy
import time

import torch

from training.data import Split
from training.depthwise import fast_depthwise
from training.device import used_precision
from training.inputs import Pictures
from training.losses import objective
from training.networks import Classifier
from training.optim import make_optimizer
from training.placement import wait
from training.recipe import Recipe

STEPS = 3
"""Number of steps that are measured; the first one, which allocates memory, does not count."""


def best_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_seconds(network: Classifier, split: Split, recipe: Recipe) -> float:
    """Return the time of one training step on a copy of a network, in seconds.

    Args:
        network: The network, which stays as it is.
        split: Training pictures.
        recipe: How the network is trained.
    """
    device = best_device()
    model = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last)
    model.train()
    optimizer = make_optimizer(model, recipe.optimizer)
    source = Pictures(split, recipe, device)
    rows = torch.arange(min(recipe.batch_size, len(split)))
    generator = torch.Generator().manual_seed(recipe.seed)
    times = []
    for _ in range(STEPS):
        began = time.monotonic()
        inputs, targets = source.training(rows, generator, 0)
        with _precision(recipe, device), fast_depthwise(device):
            outputs = model(*inputs)
        objective(outputs.float(), targets, recipe.loss).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait(device)
        times.append(time.monotonic() - began)
    return sum(times[1:]) / (STEPS - 1)


@torch.inference_mode()
def forward_seconds(network: Classifier, split: Split, recipe: Recipe) -> float:
    """Return the time of computing one batch in the precision of training, in seconds."""
    device = best_device()
    model = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last)
    model.eval()
    source = Pictures(split, recipe, device)
    rows = torch.arange(min(recipe.batch_size, len(split)))
    times = []
    for _ in range(STEPS):
        began = time.monotonic()
        with _precision(recipe, device):
            model(*source.plain(rows))
        wait(device)
        times.append(time.monotonic() - began)
    return sum(times[1:]) / (STEPS - 1)


def _precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    precision = used_precision(recipe.precision)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "no")
