"""Random augmentation of batches, uint8 N x H x W x 3, driven by one generator.

Random numbers are drawn on the CPU, so that they are the same on every device. All else is computed
on the device of the pictures.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from artifacts import InputPolicy
from training.placement import constant, to_device
from training.recipe import Recipe
from training.scenery import Scenery, framed
from training.settings import Augment

MAX_SOFTNESS = 0.15
"""Largest share of a framed picture's sides over which it fades into its scenery."""
MIN_FLATTENING = 0.8
"""Smallest height of a framed picture relative to the aspect ratio of the whole."""


def augment(
    images: Tensor,
    indices: Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    epoch: int,
    scenery: Scenery | None = None,
) -> Tensor:
    """Augment a batch by a recipe and rescale it for the network.

    Args:
        images: uint8 N x H x W x 3, on any device.
        indices: Index of each picture in the training split, for alternating flips; on the CPU.
        recipe: Its `augment` lists the augmentations.
        generator: The only source of randomness.
        epoch: Epoch, counted from 0.
        scenery: What surrounds the pictures that the recipe frames.

    Returns:
        uint8 or float32 N x H' x W' x 3 in 0..255.
    """
    images = change(images, indices, recipe, generator, epoch)
    return resize(images, recipe, generator, epoch, scenery)


def change(
    images: Tensor, indices: Tensor, recipe: Recipe, generator: torch.Generator, epoch: int
) -> Tensor:
    """Do what `augment` does before it rescales a batch.

    Returns:
        uint8 or float32 N x H x W x 3 in 0..255.
    """
    settings = recipe.augment
    images = flip(images, flip_mask(indices, recipe, generator, epoch))
    if settings.translate:
        images = translate(images, settings.translate, generator)
    if settings.jitter:
        images = jitter(images, settings.jitter, generator)
    if settings.grey:
        images = grey(images, settings.grey, generator)
    if settings.rotate or settings.shift or settings.scale != (1.0, 1.0):
        images = affine(images, settings, generator)
    if settings.stroke:
        images = stroke(images, settings.stroke, generator)
    if settings.cutout:
        images = cutout(images, settings.cutout, generator)
    return images


def resize(
    images: Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    epoch: int,
    scenery: Scenery | None = None,
) -> Tensor:
    """Rescale a changed batch for the network, as the last part of `augment`.

    Returns:
        uint8 or float32 N x H' x W' x 3 in 0..255.
    """
    settings = recipe.augment
    policy, size = recipe.policy, (images.shape[2], images.shape[1])
    if settings.early_side and epoch < settings.early * recipe.epochs:
        policy = InputPolicy(native_side=(settings.early_side, settings.early_side))
    elif settings.sizes:
        choice = int(torch.randint(len(settings.sizes), (1,), generator=generator))
        size = parse_size(settings.sizes[choice])
    if scenery is not None:
        return surround(images, policy.target(*size), settings, scenery, generator)
    return rescale_as_served(rescale(images, *size), policy)


def rescale_as_served(images: Tensor, policy: InputPolicy) -> Tensor:
    """Rescale a batch N x H x W x 3 as `artifacts.preprocessing.prepare` does, within rounding.

    Args:
        images: uint8 or float32 N x H x W x 3 in 0..255.
        policy: Of a recipe: none or squash, bicubic or bilinear, and antialiased.
    """
    height, width = images.shape[1:3]
    shrunk = rescale(images, *policy.shrunk(width, height), policy.interpolation)
    return rescale(shrunk, *policy.target(width, height), policy.interpolation)


def flip_mask(
    indices: Tensor, recipe: Recipe, generator: torch.Generator, epoch: int
) -> Tensor | None:
    """Choose the pictures of a batch to mirror: bool N, or None if the recipe never flips."""
    if recipe.augment.flip == "random":
        return torch.rand(len(indices), generator=generator) < 0.5  # noqa: PLR2004
    if recipe.augment.flip == "alternating":
        return (_phase(indices) + epoch) % 2 == 0
    return None


def flip(images: Tensor, chosen: Tensor | None) -> Tensor:
    """Mirror pictures left to right where `chosen` (bool N) is True; None mirrors none."""
    if chosen is None:
        return images
    chosen = to_device(chosen, images.device)
    return torch.where(chosen[:, None, None, None], images.flip(2), images)


def translate(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Shift each picture by up to `reach` px in either direction; reflection fills the border."""
    count, height, width, _ = images.shape
    device = images.device
    drawn = torch.randint(-reach, reach + 1, (2, count), generator=generator)
    down, right = to_device(drawn, device)[:, :, None]  # (N, 1)
    rows = _reflect(torch.arange(height, device=device) + down, height)  # (N, H)
    columns = _reflect(torch.arange(width, device=device) + right, width)  # (N, W)
    which = torch.arange(count, device=device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]  # (N, H, W, 3)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Cover a random square of `side` px, which lies inside the picture, with mid grey (127)."""
    (count, height, width, _), device = images.shape, images.device
    drawn = [
        torch.randint(0, length - side + 1, (count, 1), generator=generator)
        for length in (height, width)
    ]
    top, left = to_device(torch.stack(drawn), device)  # (N, 1)
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    in_rows = (rows >= top) & (rows < top + side)  # (N, H)
    in_columns = (columns >= left) & (columns < left + side)  # (N, W)
    covered = in_rows[:, :, None, None] & in_columns[:, None, :, None]
    return images.masked_fill(covered, 127)


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Scale brightness, contrast and saturation, in this order, by random factors per picture.

    Returns:
        float32 N x H x W x 3, 0..255.
    """
    drawn = to_device(torch.rand(3, len(images), generator=generator), images.device)
    factors = 1 + strength * (2 * drawn - 1)
    brightness, contrast, saturation = factors[:, :, None, None, None]
    pixels = (images.float() * brightness).clamp(0, 255)
    mean = _grey(pixels).mean((1, 2), keepdim=True)  # (N, 1, 1, 1)
    pixels = torch.lerp(mean, pixels, contrast).clamp(0, 255)
    return torch.lerp(_grey(pixels), pixels, saturation).clamp(0, 255)


def grey(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Take the colours from a random share (0..1) of the pictures.

    Returns:
        float32 N x H x W x 3, 0..255.
    """
    chosen = to_device(torch.rand(len(images), generator=generator) < share, images.device)
    pixels = images.float()
    return torch.where(chosen[:, None, None, None], _grey(pixels), pixels)


def affine(images: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Rotate, shift and magnify each picture about its centre (bilinear, black border).

    Returns:
        float32 N x H x W x 3, 0..255.
    """
    draws = to_device(torch.rand(4, len(images), generator=generator), images.device)
    angle = torch.deg2rad(settings.rotate * (2 * draws[0] - 1))
    shift = 2 * settings.shift * (2 * draws[1:3] - 1)  # (2, N), in units of half a side
    low, high = settings.scale
    scale = low + (high - low) * draws[3]
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # the inverse transform, which gives the source of each pixel of the result
    rows = [torch.stack([cos, sin, -shift[0]]), torch.stack([-sin, cos, -shift[1]])]
    theta = torch.stack(rows).permute(2, 0, 1)  # (N, 2, 3)
    planes = images.permute(0, 3, 1, 2).float()  # (N, 3, H, W)
    grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, align_corners=False).permute(0, 2, 3, 1)


def stroke(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mix each picture with its dilation or erosion by 3x3 px, by a random share.

    Args:
        images: uint8 or float32 N x H x W x 3, bright strokes on a dark ground.
        strength: Largest share of the dilation or erosion, 0..1.
        generator: The only source of randomness.

    Returns:
        float32 N x H x W x 3, 0..255.
    """
    planes = images.permute(0, 3, 1, 2).float()  # (N, 3, H, W)
    drawn = torch.rand(len(images), 1, 1, 1, generator=generator)
    share = strength * (2 * to_device(drawn, images.device) - 1)
    sign = torch.where(share < 0, -1.0, 1.0)  # an erosion is the dilation of the negative
    changed = sign * F.max_pool2d(sign * planes, 3, stride=1, padding=1)
    return torch.lerp(planes, changed, share.abs()).permute(0, 2, 3, 1)


def rescale(images: Tensor, width: int, height: int, mode: str = "bicubic") -> Tensor:
    """Rescale as Pillow does (antialiased); keeps the dtype, uint8 or float in 0..255."""
    if images.shape[1:3] == (height, width):
        return images
    if images.dtype == torch.uint8 and images.device.type != "cpu":
        return rescale_in_float(images, width, height, mode)
    planes = images.permute(0, 3, 1, 2)  # (N, 3, H, W)
    resized = F.interpolate(planes, size=(height, width), mode=mode, antialias=True)
    return resized.clamp_(0, 255).permute(0, 2, 3, 1)


def surround(
    images: Tensor,
    size: tuple[int, int],
    settings: Augment,
    scenery: Scenery,
    generator: torch.Generator,
) -> Tensor:
    """Rescale a batch, and shrink a share of its pictures into scenery.

    Args:
        images: uint8 or float32 N x H x W x 3 in 0..255.
        size: (width, height) of the result.
        settings: `framed` and `margin`.
        scenery: What surrounds the pictures.
        generator: The only source of randomness.

    Returns:
        uint8 N x H' x W' x 3.
    """
    random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    result = np.empty((len(images), size[1], size[0], 3), np.uint8)
    for row, pixels in enumerate(images.to(torch.uint8).cpu().numpy()):
        whole = Image.fromarray(pixels)
        if random.random() >= settings.framed:
            result[row] = np.asarray(whole.resize(size, Image.Resampling.BICUBIC))
            continue
        share = 1 / (1 + random.uniform(0, settings.margin))
        height = size[1] * random.uniform(MIN_FLATTENING, 1)
        crop = whole.resize(
            (round(size[0] * share), round(height * share)), Image.Resampling.BICUBIC
        )
        softness = max(0.0, random.uniform(-MAX_SOFTNESS, MAX_SOFTNESS))
        place = (random.random(), random.random())
        scene = scenery.draw(crop, size, random)
        result[row] = np.asarray(framed(crop, scene, place, softness))
    return to_device(torch.from_numpy(result), images.device)


def rescale_in_float(images: Tensor, width: int, height: int, mode: str = "bicubic") -> Tensor:
    """Do as `rescale` does for uint8 pictures, within two levels of it, on any device.

    PyTorch rescales integers on a CPU alone. As there, columns come first, and what overshoots is
    cut off before the rows are rescaled.
    """
    columns = rescale(images.float(), width, images.shape[1], mode).round_()
    return rescale(columns, width, height, mode).round_().to(torch.uint8)


def parse_size(text: str) -> tuple[int, int]:
    """Parse `WIDTHxHEIGHT`; returns (width, height)."""
    width, height = map(int, text.split("x"))
    return width, height


def _grey(pixels: Tensor) -> Tensor:
    """Compute the luma (ITU-R BT.601): N x H x W x 3 -> N x H x W x 1."""
    return (pixels @ constant((0.299, 0.587, 0.114), pixels.device))[..., None]


def _reflect(positions: Tensor, size: int) -> Tensor:
    positions = positions.abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)


def _phase(indices: Tensor) -> Tensor:
    # the top bit of Knuth's multiplicative hash, so that neighbours in the split have mixed phases
    return (indices * 2654435761 % 2**32) >> 31
