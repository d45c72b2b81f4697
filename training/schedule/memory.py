"""Estimates how much memory of a GPU a training takes, without a GPU and without computing it."""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from training.inputs import training_sizes
from training.networks import build
from training.recipe import Recipe
from training.recipe_settings import AUTO

CONTEXT = 1.5e9
"""Memory that CUDA and its libraries take in each process, bytes; an assumption."""
SLACK = 1.5
"""Factor on what a step keeps, for what it frees again and for fragmentation; an assumption."""
PROBE = 2
"""Pictures in the batch from which the memory of a batch follows."""


def training_memory(recipe: Recipe, classes: int, pictures: int, side: tuple[int, int]) -> int:
    """Estimate the memory of a GPU that the training of a recipe takes, bytes.

    It counts the weights, their gradients and two moments, an average if there is one, what the
    backward pass of a batch of the largest pictures needs, and the pictures.

    Args:
        recipe: Its batch size is a number.
        classes: Number of classes.
        pictures: Number of training pictures.
        side: Their (height, width), px.

    Raises:
        RecipeError: The network is unknown.
        RuntimeError: The network cannot be run without values.
        ValueError: The batch size is `auto`, which takes what there is.
    """
    if recipe.batch_size == AUTO:
        raise ValueError("the memory of an automatic batch size is not known beforehand")
    sizes = training_sizes(recipe, *side)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    kept: dict[int, Tensor] = {}
    """What is kept for the backward pass, by the address of its storage."""

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # noqa: SLF001
        return tensor

    with torch.device("meta"):
        network = build(recipe.network, classes).train()
    with (
        FakeTensorMode(allow_non_fake_inputs=True),  # a CPU that computes shapes and no values
        torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision != "no"),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        network.to_empty(device="cpu")
        network(torch.zeros(PROBE, 3, height, width))
        parameters = list(network.parameters())
        weights = sum(w.nbytes for w in parameters)
        for weight in parameters:
            kept.pop(weight.untyped_storage()._cdata, None)  # noqa: SLF001
        batch = sum(t.untyped_storage().nbytes() for t in kept.values()) / PROBE
    batch *= recipe.batch_size
    copies = 5 if recipe.optimizer.ema else 4
    table = 3 * pictures * side[0] * side[1]
    return round(CONTEXT + SLACK * (copies * weights + batch) + table)
