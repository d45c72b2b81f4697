"""Random changes of whole batches, on uint8 tensors N x H x W x 3, drawn from one generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.recipe import Augment


def augment(
    images: Tensor, indices: Tensor, settings: Augment, generator: torch.Generator, epoch: int
) -> Tensor:
    """Change a batch as the recipe says.

    Args:
        images: uint8 N x H x W x 3.
        indices: place of each picture in the training split, for alternating flips.
        settings: what to do.
        generator: the only source of chance.
        epoch: counted from 0.

    Returns:
        uint8 or float32 N x H' x W' x 3 in 0..255.
    """
    if settings.flip == "random":
        images = flip(images, torch.rand(len(images), generator=generator) < 0.5)  # noqa: PLR2004
    elif settings.flip == "alternating":
        images = flip(images, (_hash(indices) + epoch) % 2 == 0)
    if settings.translate:
        images = translate(images, settings.translate, generator)
    if settings.cutout:
        images = cutout(images, settings.cutout, generator)
    if settings.sides:
        choice = int(torch.randint(len(settings.sides), (1,), generator=generator))
        images = rescale(images, settings.sides[choice])
    return images


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the chosen pictures left to right; `chosen` is bool N."""
    return torch.where(chosen[:, None, None, None], images.flip(2), images)


def translate(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Shift every picture by up to `reach` px each way, borders filled by reflection."""
    count, height, width, _ = images.shape
    shifts = torch.randint(-reach, reach + 1, (2, count), generator=generator)
    rows = _reflect(torch.arange(height) + shifts[0, :, None], height)  # (N, H)
    columns = _reflect(torch.arange(width) + shifts[1, :, None], width)  # (N, W)
    which = torch.arange(count)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]  # (N, H, W, 3)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Cover a square of `side` px, wholly inside the picture, with mid grey (127)."""
    count, height, width, _ = images.shape
    top = torch.randint(0, height - side + 1, (count, 1), generator=generator)
    left = torch.randint(0, width - side + 1, (count, 1), generator=generator)
    rows = torch.arange(height)
    columns = torch.arange(width)
    in_rows = (rows >= top) & (rows < top + side)  # (N, H)
    in_columns = (columns >= left) & (columns < left + side)  # (N, W)
    covered = in_rows[:, :, None, None] & in_columns[:, None, :, None]
    return images.masked_fill(covered, 127)


def rescale(images: Tensor, side: int) -> Tensor:
    """Rescale to a square of `side` px as Pillow does (bicubic, antialiased); float32 0..255."""
    if images.shape[1:3] == (side, side):
        return images
    planes = images.permute(0, 3, 1, 2).float()  # (N, 3, H, W)
    resized = F.interpolate(planes, size=(side, side), mode="bicubic", antialias=True)
    return resized.clamp(0, 255).permute(0, 2, 3, 1)


def _reflect(positions: Tensor, size: int) -> Tensor:
    positions = positions.abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)


def _hash(indices: Tensor) -> Tensor:
    # neighbours in the split must not share a phase; Knuth's multiplicative hash, top bit
    return (indices * 2654435761 % 2**32) >> 31
