"""Connected components of small masks, in NumPy."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Components(NamedTuple):
    """The connected components of a mask, one per row of each array."""

    boxes: npt.NDArray[np.int64]
    """N x 4: left, top, right and bottom in px; the last two are exclusive."""
    weights: npt.NDArray[np.float64]
    """Sum of the values within each component."""


def components(mask: Mask, values: npt.NDArray[np.float32]) -> Components:
    """Find the 8-connected components of a mask.

    The runs of each row are joined with those of the row above that they touch; the smallest number
    of any run then spreads through each component.

    Args:
        mask: H x W.
        values: H x W, to sum up over each component.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)  # (H, W + 1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    labels = _joined(len(rows), *_touching(rows, starts, stops, width))
    roots, labels = np.unique(labels, return_inverse=True)
    boxes = np.empty((len(roots), 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    for column, edge in enumerate((starts, rows)):
        np.minimum.at(boxes[:, column], labels, edge)
    for column, edge in enumerate((stops, rows + 1), 2):
        np.maximum.at(boxes[:, column], labels, edge)
    sums = np.zeros((height, width + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    weights = np.zeros(len(roots))
    np.add.at(weights, labels, sums[rows, stops] - sums[rows, starts])
    return Components(boxes, weights)


def _touching(
    rows: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    width: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return all pairs of runs that touch, the first of them in the row above the second."""
    stride = width + 2  # runs of different rows are further apart than any that touch
    above = (rows - 1) * stride
    # runs above with stop >= start and start <= stop, which includes the diagonal neighbours
    first = np.searchsorted(rows * stride + stops, above + starts, "left")
    last = np.searchsorted(rows * stride + starts, above + stops, "right")
    counts = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(rows)), counts)
    steps = np.arange(len(below)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + steps, below


def _joined(
    count: int, above: npt.NDArray[np.int64], below: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the smallest number of the runs of each run's component."""
    labels = np.arange(count)
    while True:
        least = np.minimum(labels[above], labels[below])
        if np.array_equal(labels[above], labels[below]):
            return labels
        for ends in (labels[above], labels[below], above, below):
            np.minimum.at(labels, ends, least)
        labels = labels[labels]
