"""What the training loop feeds a network: pictures, augmented, rescaled and normalised."""

from typing import Protocol

import torch
from torch import Tensor

from training.augment import augment, flip, shown
from training.data import Split
from training.recipe import Recipe

BATCH_PIXELS = 2**22
"""Bounds batches that need no gradients."""

Inputs = tuple[Tensor, ...]


class Source(Protocol):
    """Batches of one split for a network, on its device."""

    labels: Tensor
    """int64 N."""
    batch_size: int
    """How many to show at once where no gradients are kept."""

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """Augmented inputs, and their labels, int64 N."""

    def plain(self, indices: Tensor) -> Inputs:
        """Inputs as evaluation wants them."""


class Pictures:
    """Pictures, normalised: N x 3 x H x W.

    Args:
        split: what is shown.
        recipe: says how.
        device: where the network is.
    """

    def __init__(self, split: Split, recipe: Recipe, device: torch.device) -> None:
        self.images, self.labels = split.images, split.labels
        self.recipe, self.device = recipe, device
        height, width = split.images.shape[1:3]
        width, height = recipe.policy.target(width, height)
        self.batch_size = max(16, min(512, BATCH_PIXELS // (width * height)))

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """As `Source`."""
        images = augment(self.images[indices], indices, self.recipe, generator, epoch)
        return self._normalised(images), self.labels[indices].to(self.device)

    def plain(self, indices: Tensor) -> Inputs:
        """As `Source`."""
        return self._normalised(shown(self.images[indices], self.recipe.policy))

    def mirrored(self, indices: Tensor) -> Inputs:
        """As `plain`, left and right exchanged."""
        images = flip(self.images[indices], torch.ones(len(indices), dtype=torch.bool))
        return self._normalised(shown(images, self.recipe.policy))

    def _normalised(self, images: Tensor) -> Inputs:
        return (normalise(images.to(self.device), self.recipe),)


def normalise(images: Tensor, recipe: Recipe) -> Tensor:
    """uint8 or float N x H x W x 3 in 0..255 -> float N x 3 x H x W, channels last in memory."""
    mean = torch.tensor(recipe.data.mean, device=images.device) * 255
    std = torch.tensor(recipe.data.std, device=images.device) * 255
    pixels = images.to(torch.float32, copy=True)
    return pixels.sub_(mean).div_(std).permute(0, 3, 1, 2)
