"""How much two small grey pictures differ, as they are and after one is moved to fit the other."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BORDER = 2
"""Pixels at each edge that are not compared after fitting: trimming brings others there."""
STEPS = 3
"""Number of steps of the fit, after which it has converged for shifts of two pixels."""
MAX_STRETCH = 0.15
MAX_SHIFT = 2.0
"""In pixels."""
DAMPING = 1e-2
"""Added to the diagonal of the equations, which plain pictures would leave singular."""


def standardized(pictures: npt.NDArray[np.uint8] | Floats) -> Floats:
    """Return pictures (N x H x W) with mean 0 and standard deviation 1 each."""
    shifted = pictures - pictures.mean((1, 2), keepdims=True, dtype=np.float32)
    scaled: Floats = shifted / np.maximum(shifted.std((1, 2), keepdims=True), 1e-6)
    return scaled


def correlate(ones: Floats, others: Floats) -> Floats:
    """Return the correlation of each pair of standardized pictures, both N x H x W."""
    products: Floats = np.einsum("nij,nij->n", ones, others) / (ones.shape[1] * ones.shape[2])
    return products


def greatest_difference(ones: Floats, others: Floats) -> Floats:
    """Return the greatest difference at a pixel of each pair of pictures, both N x H x W."""
    greatest: Floats = np.abs(ones - others).max((1, 2))
    return greatest


def aligned(ones: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Stretch and move the first picture of each pair to fit the second.

    Width, height and both shifts are fitted by Gauss-Newton steps on the squared difference (Lucas
    and Kanade, "An iterative image registration technique", 1981).

    Args:
        ones: N x S x S, standardized.
        others: The same shape.

    Returns:
        The moved pictures and the others, standardized, without the pixels at the borders.
    """
    side = ones.shape[1]
    inner = slice(BORDER, side - BORDER)
    centred = np.arange(side, dtype=np.float32) - (side - 1) / 2
    across, down = centred[inner][None, None, :], centred[inner][None, :, None]
    target = standardized(others[:, inner, inner])
    limits = np.array([MAX_STRETCH, MAX_STRETCH, MAX_SHIFT, MAX_SHIFT], np.float32)
    moves = np.zeros((len(ones), 4), np.float32)  # stretch of width and height; shift right, down
    for _ in range(STEPS):
        moved = _moved(ones, moves, centred)
        spread = np.maximum(moved[:, inner, inner].std((1, 2), keepdims=True), 1e-6)
        slopes: Any = np.gradient(moved, axis=(1, 2))
        below, right = (slope[:, inner, inner] / spread for slope in slopes)
        effects = np.stack([right * across, below * down, right, below], 1)
        effects = effects.reshape(len(ones), 4, -1)
        effects -= effects.mean(2, keepdims=True)
        missing = (target - standardized(moved[:, inner, inner])).reshape(len(ones), -1, 1)
        normal = effects @ effects.transpose(0, 2, 1) + DAMPING * np.eye(4, dtype=np.float32)
        moves += np.linalg.solve(normal, effects @ missing)[..., 0]
        moves = np.clip(moves, -limits, limits)
    return standardized(_moved(ones, moves, centred)[:, inner, inner]), target


def _moved(pictures: Floats, moves: Floats, centred: Floats) -> Floats:
    """Return pictures sampled bilinearly at stretched and shifted places, clipped to the edges."""
    columns, from_right = _places(centred, moves[:, 0:1], moves[:, 2:3])
    rows, from_below = _places(centred, moves[:, 1:2], moves[:, 3:4])
    each = np.arange(len(pictures))[:, None, None]
    upper = pictures[each, rows[:, :, None], np.arange(len(centred))]
    lower = pictures[each, rows[:, :, None] + 1, np.arange(len(centred))]
    lines = upper + (lower - upper) * from_below[:, :, None]
    left = np.take_along_axis(lines, columns[:, None, :], 2)
    right = np.take_along_axis(lines, columns[:, None, :] + 1, 2)
    moved: Floats = left + (right - left) * from_right[:, None, :]
    return moved


def _places(
    centred: Floats, stretch: Floats, shift: Floats
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the pixel before each place (N x S), and how far the place is beyond it, 0..1."""
    last = len(centred) - 1
    places = np.clip(centred * (1 + stretch) + shift + last / 2, 0, last - 1e-3)
    whole = places.astype(np.int64)
    return whole, (places - whole).astype(np.float32)
