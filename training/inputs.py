"""The inputs of the training loop: pictures that are augmented, rescaled and normalised."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from artifacts.datasets.base import take
from training.augment import MAX_SOFTNESS, augment, flip, rescale_as_served
from training.data import Split, load_or_download
from training.recipe import Recipe
from training.scenery import Framed, Invented, Pixels
from training.settings import Augment

BATCH_PIXELS = 2**22
"""Maximum number of pixels in a batch that needs no gradients; it has at least 16 pictures."""

Inputs = tuple[Tensor, ...]


class Source(Protocol):
    """Batches of one split for a network, on its device."""

    labels: Tensor
    """Labels of all pictures, int64 N."""
    batch_size: int
    """Number of pictures per batch where no gradients are kept."""

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """Return augmented inputs and their labels.

        Args:
            indices: Pictures of the batch, int64 N.
            generator: The only source of randomness.
            epoch: Epoch, counted from 0.

        Returns:
            The inputs of the network, and labels int64 N.
        """

    def plain(self, indices: Tensor) -> Inputs:
        """Return inputs without augmentation, for evaluation."""


class Pictures:
    """Pictures as normalised inputs N x 3 x H x W.

    Args:
        split: The pictures and their labels.
        recipe: How they are augmented, rescaled and normalised.
        device: Device of the network.
    """

    def __init__(self, split: Split, recipe: Recipe, device: torch.device) -> None:
        self.images, self.labels = split.images, split.labels
        self.recipe, self.device = recipe, device
        height, width = split.images.shape[1:3]
        width, height = recipe.policy.target(width, height)
        self.batch_size = max(16, min(512, BATCH_PIXELS // (width * height)))
        self.scenery = (
            training_scenery(split.images.numpy(), recipe.augment)
            if recipe.augment.framed
            else None
        )

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """See `Source.training`."""
        images = augment(self.images[indices], indices, self.recipe, generator, epoch, self.scenery)
        return self._normalised(images), self.labels[indices].to(self.device)

    def plain(self, indices: Tensor) -> Inputs:
        """See `Source.plain`."""
        return self._normalised(rescale_as_served(self.images[indices], self.recipe.policy))

    def mirrored(self, indices: Tensor) -> Inputs:
        """The same as `plain`, but mirrored left to right."""
        images = flip(self.images[indices], torch.ones(len(indices), dtype=torch.bool))
        return self._normalised(rescale_as_served(images, self.recipe.policy))

    def _normalised(self, images: Tensor) -> Inputs:
        return (normalise(images.to(self.device), self.recipe),)


def training_scenery(crops: Sequence[Pixels] | Pixels, settings: Augment) -> Invented:
    """Return the scenery of a recipe: its data set without the classes that are left out.

    Args:
        crops: Pictures of the things themselves, uint8 H x W x 3 each.
        settings: `scenery` and `scenery_without`.

    Raises:
        DataError: The data set is missing.
    """
    source = load_or_download(settings.scenery, "train")
    left_out = [source.classes.index(name) for name in settings.scenery_without]
    kept = (~np.isin(source.labels, left_out)).nonzero()[0]
    return Invented(take(source.images, kept), crops)


def with_scenery(images: Sequence[Pixels] | Pixels, settings: Augment) -> Framed | None:
    """Surround a share of some pictures with scenery, as training does; None if it does not.

    Args:
        images: Pictures of one split, uint8 H x W x 3 each.
        settings: Which share of them is surrounded, and how; the others stay as they are.
    """
    if not settings.framed:
        return None
    around = training_scenery(images, settings)
    return Framed(images, around, settings.margin, 0, MAX_SOFTNESS, settings.framed, varied=True)


def normalise(images: Tensor, recipe: Recipe) -> Tensor:
    """Normalise N x H x W x 3 in 0..255 (uint8 or float) by the recipe's mean and std.

    Returns:
        float32 N x 3 x H x W, with channels last in memory.
    """
    mean = torch.tensor(recipe.data.mean, device=images.device) * 255
    std = torch.tensor(recipe.data.std, device=images.device) * 255
    pixels = images.to(torch.float32, copy=True)
    return pixels.sub_(mean).div_(std).permute(0, 3, 1, 2)
