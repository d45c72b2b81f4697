"""Tells the strokes of a drawing from the ground they are on, under uneven light."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Grey = npt.NDArray[np.float32]
"""H x W, 0..255."""

GRID = 16
"""Side of the grid on which the light is fitted."""
_y, _x = (axis.ravel() for axis in np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j])
TERMS = np.stack([np.ones_like(_x), _x, _y, _x * _x, _x * _y, _y * _y], axis=1)
"""Terms of a quadratic function at each place of the grid, which spans -1..1: GRID² x 6."""
BORDER = np.maximum(np.abs(_x), np.abs(_y)) > 1 - 2.5 / GRID
"""Which places are in the outer two rows or columns: bool GRID²."""
FINEST = 64
"""Largest side at which the ground is found, px."""
NOISE = 4.0
"""How many standard deviations of the ground's noise count as ground."""
DARKEST = 16.0
"""Least brightness of paper, below which differences are not enlarged any more."""


def ink_of(grey: Grey, *, dark: bool | None = None) -> tuple[Grey, bool]:
    """Find how much each pixel differs from the ground.

    The ground is the sum of a quadratic function of the place, fitted to the picture (the light),
    and of what morphology leaves of the rest: the closing for dark strokes, the opening for bright
    ones. It follows shadows, but not what is narrower than a third of the picture.

    Args:
        grey: H x W, 0..255.
        dark: whether the strokes are darker than the ground; None finds out.

    Returns:
        H x W, 0 within the noise of the ground and up to 255 where all light is missing, or where
        it is brighter than the ground by as much; and whether the strokes are dark.
    """
    height, width = grey.shape
    light = _light(grey)
    rest = grey - light
    step = -(-max(height, width) // FINEST)
    small = np.asarray(Image.fromarray(rest).reduce(step)) if step > 1 else rest
    reach = max(3, max(small.shape) // 6)
    closing = _least(_greatest(small, reach), reach)
    if dark is None:
        dark = _is_dark(small, closing, _greatest(_least(small, reach), reach))
    ground = closing if dark else _greatest(_least(small, reach), reach)
    if step > 1:
        resized = Image.fromarray(ground).resize((width, height), Image.Resampling.BILINEAR)
        ground = np.asarray(resized)
    ink = rest - ground
    if dark:  # of the light that falls on paper, ink takes the same share everywhere
        ink *= -255 / np.maximum(ground + light, DARKEST)
    sample = ink[::step, ::step]
    # the quarter of the pixels with the least ink is ground, whose noise is taken to be normal
    least, quarter = np.percentile(sample, (5, 25))
    deviation = (quarter - least) / (1.645 - 0.674)
    return np.maximum(ink - quarter - (0.674 + NOISE) * deviation, 0), dark


def _light(grey: Grey) -> Grey:
    """Fit a quadratic function of the place to a picture, first to its border and then to all.

    The sum of absolute deviations is made least, so that strokes hardly count: H x W.
    """
    if max(grey.shape) < 2 * GRID:  # too small for its light to be told from its strokes
        edges = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        return np.full_like(grey, np.median(edges))
    resized = Image.fromarray(grey).resize((GRID, GRID), Image.Resampling.BOX)
    values = np.asarray(resized, np.float64).ravel()
    weights = BORDER / (np.abs(values - np.median(values[BORDER])) + 1)
    for counts in (BORDER, BORDER, True, True, True):
        weighted = TERMS * weights[:, None]
        fitted = np.linalg.solve(weighted.T @ TERMS, weighted.T @ values)
        weights = counts / (np.abs(values - TERMS @ fitted) + 1)
    height, width = grey.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    c = fitted.astype(np.float32)
    light: Grey = c[0] + c[1] * x + c[2] * y + c[3] * x * x + c[4] * x * y + c[5] * y * y
    return light


def _is_dark(rest: Grey, closing: Grey, opening: Grey) -> bool:
    """Say whether dark strokes outweigh bright ones.

    A stroke differs from the light and is narrow. The ground within a loop is narrow, too, but has
    the brightness of the light; a reflection is wide.
    """
    dark = np.minimum(closing - rest, np.maximum(-rest, 0))
    bright = np.minimum(rest - opening, np.maximum(rest, 0))
    return bool((dark**3).sum() > (bright**3).sum())


def _greatest(grey: Grey, reach: int) -> Grey:
    """Return the greatest value within `reach` px in both directions (dilation): H x W."""
    padded = np.pad(grey, reach, "edge")
    for _ in range(2):
        padded, span = padded.T, 1
        while span <= reach:  # each value is the greatest of `span` in its column
            padded = np.maximum(padded[:-span], padded[span:])
            span *= 2
        more = 2 * reach + 1 - span
        padded = np.maximum(padded[: len(padded) - more], padded[more:])
    return padded


def _least(grey: Grey, reach: int) -> Grey:
    """Return the least value within `reach` px in both directions (erosion): H x W."""
    return -_greatest(-grey, reach)
