"""Training pictures that are mixtures of two, and are labelled with both.

A network that sees few pictures often learns them by heart. No mixture comes twice, and its labels
say how much of each picture is in it (Zhang et al. 2018, arXiv 1710.09412; Yun et al. 2019,
arXiv 1905.04899).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augment import change, resize
from training.data import Split
from training.inputs import Inputs, Pictures
from training.placement import to_device
from training.recipe import Recipe
from training.settings import Augment

LEAST_SHARE = 0.5
"""Smallest share of the first picture in a mixture of two."""


class Mixtures(Pictures):
    """Training pictures of which a share are mixed with another one, and probabilities as labels.

    Pictures are mixed before they are rescaled, so that scenery surrounds the mixture.

    Args:
        split: The pictures and their labels.
        recipe: Its `augment` says how many pictures are mixed, and how.
        device: Device of the network.
        classes: Number of classes C.
    """

    def __init__(self, split: Split, recipe: Recipe, device: torch.device, classes: int) -> None:
        super().__init__(split, recipe, device)
        self.classes = classes

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """See `Source.training`; the labels are probabilities, float32 N x C."""
        images = change(self._rows.take(indices), indices, self.recipe, generator, epoch)
        images, partners, share = mix(images, self.recipe.augment, generator)
        images = resize(images, self.recipe, generator, epoch, self.scenery)
        labels = F.one_hot(self._targets.take(indices), self.classes).float()  # (N, C)
        return self._normalised(images), torch.lerp(labels[partners], labels, share[:, None])


def mix(
    images: Tensor, settings: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix a share of the pictures with another one of the batch.

    Args:
        images: uint8 or float32 N x H x W x 3 in 0..255.
        settings: `mixup`, the share of pictures that are blended with another one, and `cutmix`,
            that of pictures in which a rectangle is replaced by the same part of another one.
        generator: The only source of randomness.

    Returns:
        The mixtures, float32 N x H x W x 3; the number of each one's second picture, int64 N; and
        the share of the first picture in it, float32 N in 0..1. All are on the device of `images`.
    """
    (count, height, width, _), device = images.shape, images.device
    partners = torch.randperm(count, generator=generator)
    chosen, share = draw_shares(count, generator)
    patched = chosen < settings.cutmix
    blended = ~patched & (chosen < settings.cutmix + settings.mixup)
    places = torch.rand(2, count, generator=generator)
    sides = (1 - share).sqrt()  # the rectangle has the shape of the picture
    inside = [
        _between(length, place * (1 - sides), sides)
        for length, place in zip((height, width), places, strict=True)
    ]
    rectangle = inside[0][:, :, None] & inside[1][:, None, :]  # (N, H, W)
    weight = torch.where(blended, share, 1.0)[:, None, None]
    weight = weight.masked_fill(patched[:, None, None] & rectangle, 0.0)
    weight, partners = to_device(weight, device), to_device(partners, device)
    mixed = blend(images.float(), images[partners].float(), weight[..., None])
    return mixed, partners, weight.mean((1, 2))


def draw_shares(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a number in 0..1 that chooses whether a picture is mixed, and its share in the mixture.

    The share is uniform from `LEAST_SHARE` to 1. That of either picture is then uniform from 0 to
    1, the distribution Beta(1, 1) of CutMix.

    Returns:
        Two tensors float32 N, on the CPU.
    """
    chosen, drawn = torch.rand(2, count, generator=generator)
    return chosen, LEAST_SHARE + (1 - LEAST_SHARE) * drawn


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return the mean of float pictures N x H x W x 3; `share` is the weight of the first ones."""
    return torch.lerp(second, first, share)


def _between(length: int, start: Tensor, extent: Tensor) -> Tensor:
    """Tell which of `length` pixels lie from `start` on, in units of the whole: bool N x length."""
    middle = (torch.arange(length) + 0.5) / length
    return (middle >= start[:, None]) & (middle < (start + extent)[:, None])
