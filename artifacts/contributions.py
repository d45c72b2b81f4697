"""Maps of contributions: a coarse grid of numbers over a picture, enlarged to its pixels."""

import numpy as np
import numpy.typing as npt

from artifacts.preprocessing import Frame

Grid = npt.NDArray[np.float64]
"""h x w contributions to a logit."""


def enlarge(grid: Grid, frame: Frame, width: int, height: int) -> Grid:
    """Interpolate a grid bilinearly between the centres of its cells.

    Args:
        grid: h x w.
        frame: rectangle that the grid covers, in pixels of the picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        float64 height x width; NaN outside of the frame.
    """
    left, top, right, bottom = frame
    down = _weights(grid.shape[0], top, bottom, height)  # (H, h)
    across = _weights(grid.shape[1], left, right, width)  # (W, w)
    enlarged: Grid = down @ grid @ across.T
    return enlarged


def shrink(grid: Grid, most: int) -> Grid:
    """Average a grid over areas, so that no side has more than `most` cells; its mean stays."""
    rows, columns = (min(side, most) for side in grid.shape)
    if (rows, columns) == grid.shape:
        return grid
    smaller: Grid = _shares(grid.shape[0], rows) @ grid @ _shares(grid.shape[1], columns).T
    return smaller


def _weights(cells: int, begin: float, end: float, side: int) -> Grid:
    """Return the weight of each cell for each pixel, side x cells; NaN for pixels outside."""
    places = (np.arange(side) + 0.5 - begin) / (end - begin) * cells
    distances = np.abs(places.clip(0.5, cells - 0.5)[:, None] - 0.5 - np.arange(cells))
    weights: Grid = np.maximum(0, 1 - distances)
    weights[(places < 0) | (places > cells)] = np.nan
    return weights


def _shares(cells: int, fewer: int) -> Grid:
    """Return the share of each of `cells` in each of `fewer` areas of equal size; rows sum to 1."""
    edges = np.linspace(0, cells, fewer + 1)
    first, last = edges[:-1, None], edges[1:, None]
    number = np.arange(cells)
    overlap: Grid = np.clip(np.minimum(last, number + 1) - np.maximum(first, number), 0, None)
    overlap /= overlap.sum(axis=1, keepdims=True)
    return overlap
