"""The inputs of the training loop: pictures that are augmented, rescaled and normalised."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from artifacts import InputPolicy
from artifacts.datasets.base import take
from training.augment import MAX_SOFTNESS, augment, flip, parse_size, rescale_as_served
from training.data import Split, load_or_download
from training.placement import OnDevice, ReadAhead, Rows, constant, place
from training.recipe import Recipe
from training.scenery import Framed, Invented, Pixels
from training.settings import Augment

BATCH_PIXELS = 2**22
"""Maximum number of pixels in a batch that needs no gradients; it has at least 16 pictures."""

Inputs = tuple[Tensor, ...]


class Source(Protocol):
    """Batches of one split for a network, on its device."""

    labels: Tensor
    """Labels of all pictures, int64 N, on the CPU."""
    batch_size: int
    """Number of pictures per batch where no gradients are kept."""

    def announce(self, batches: Sequence[Tensor]) -> None:
        """Say which batches `training` will be asked for next, so that they can be read ahead."""

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """Return augmented inputs and their labels.

        Args:
            indices: Pictures of the batch, int64 N, on the CPU.
            generator: The only source of randomness.
            epoch: Epoch, counted from 0.

        Returns:
            The inputs of the network, and labels int64 N, on the device.
        """

    def plain(self, indices: Tensor) -> Inputs:
        """Return inputs without augmentation, for evaluation."""

    def largest(self, count: int) -> Inputs:
        """Return inputs of the largest size that `training` makes, to try what fits memory."""


class Pictures:
    """Pictures as normalised inputs N x 3 x H x W.

    They are augmented, rescaled and normalised on the device; `training.placement` says where they
    are kept.

    Args:
        split: The pictures and their labels.
        recipe: How they are augmented, rescaled and normalised.
        device: Device of the network.
        once: Whether every picture is read about once, so that they need not be kept on the device.
    """

    def __init__(
        self, split: Split, recipe: Recipe, device: torch.device, *, once: bool = False
    ) -> None:
        self.images, self.labels = split.images, split.labels
        self.recipe, self.device, self.once = recipe, device, once
        height, width = split.images.shape[1:3]
        width, height = recipe.policy.target(width, height)
        self.batch_size = max(16, min(512, BATCH_PIXELS // (width * height)))
        self.scenery = (
            training_scenery(split.images.numpy(), recipe.augment)
            if recipe.augment.framed
            else None
        )

    @cached_property
    def _rows(self) -> Rows:
        """The pictures, which are placed when the first of them are asked for."""
        return ReadAhead(self.images, self.device) if self.once else place(self.images, self.device)

    @cached_property
    def _targets(self) -> OnDevice:
        return OnDevice(self.labels, self.device)

    def announce(self, batches: Sequence[Tensor]) -> None:
        """See `Source.announce`."""
        self._rows.announce(batches)

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """See `Source.training`."""
        images = self._rows.take(indices)
        images = augment(images, indices, self.recipe, generator, epoch, self.scenery)
        return self._normalised(images), self._targets.take(indices)

    def plain(self, indices: Tensor) -> Inputs:
        """See `Source.plain`."""
        images = self._rows.take(indices)
        return self._normalised(rescale_as_served(images, self.recipe.policy))

    def mirrored(self, indices: Tensor) -> Inputs:
        """The same as `plain`, but mirrored left to right."""
        images = flip(self._rows.take(indices), torch.ones(len(indices), dtype=torch.bool))
        return self._normalised(rescale_as_served(images, self.recipe.policy))

    def largest(self, count: int) -> Inputs:
        """See `Source.largest`."""
        width, height = max(
            training_sizes(self.recipe, *self.images.shape[1:3]), key=lambda size: size[0] * size[1]
        )
        return self._normalised(torch.zeros(count, height, width, 3, device=self.device))

    def _normalised(self, images: Tensor) -> Inputs:
        return (normalise(images, self.recipe),)


def training_sizes(recipe: Recipe, height: int, width: int) -> set[tuple[int, int]]:
    """Return the sizes, (width, height) in px, of the batches that `augment` makes of pictures.

    Args:
        recipe: How pictures are augmented and rescaled.
        height: Of the pictures, px.
        width: Of the pictures, px.
    """
    early, later = _sizes(recipe, height, width)
    return {*later} if early is None else {*later, early}


def share_done(epochs: float, recipe: Recipe, height: int, width: int) -> float:
    """Return which share (0..1) of the work of a training its first epochs are.

    Work is counted in pixels, so that an epoch with small pictures (`augment.early`) is less of it.

    Args:
        epochs: Number of epochs that are done, the last of which may be a fraction of one.
        recipe: How pictures are augmented and rescaled.
        height: Of the pictures, px.
        width: Of the pictures, px.
    """
    early, later = _sizes(recipe, height, width)
    if early is None:
        return epochs / recipe.epochs
    cost = early[0] * early[1] / (sum(w * h for w, h in later) / len(later))
    number = math.ceil(recipe.augment.early * recipe.epochs)
    done = min(epochs, number) * cost + max(epochs - number, 0)
    return done / (number * cost + recipe.epochs - number)


def _sizes(
    recipe: Recipe, height: int, width: int
) -> tuple[tuple[int, int] | None, list[tuple[int, int]]]:
    """Return the size of early batches, if there are any, and those of which later ones are."""
    settings, early = recipe.augment, None
    drawn = [parse_size(size) for size in settings.sizes] or [(width, height)]
    if settings.early_side and settings.early:
        side = settings.early_side
        early = InputPolicy(native_side=(side, side)).target(width, height)
    return early, [recipe.policy.target(*size) for size in drawn]


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
    mean = constant(recipe.data.mean, images.device) * 255
    std = constant(recipe.data.std, images.device) * 255
    pixels = images.to(torch.float32, copy=True)
    return pixels.sub_(mean).div_(std).permute(0, 3, 1, 2)
