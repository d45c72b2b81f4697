"""How well the probabilities of a classifier are calibrated: answers in bins of equal width.

An answer is a class with its probability, the confidence: that of the predicted class of a picture,
or of a multi-label model each of its classes.
"""

import numpy as np
import numpy.typing as npt

BINS = 15
"""Bins of the confidence, from 0 to 1."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bins_of(confidences: npt.ArrayLike) -> Ints:
    """Return the bin of each confidence in 0..1: that of c is ceil(c * BINS) - 1, and of 0 it is 0.

    A bin has its upper edge. torchmetrics, with which training measures the figures of manifests,
    gives a bin its lower edge, and a confidence of exactly 1 a bin of its own.
    """
    above = np.ceil(np.asarray(confidences) * BINS).astype(np.int64)
    found: Ints = np.clip(above - 1, 0, BINS - 1)
    return found


def calibration_error(sums: npt.ArrayLike, right: npt.ArrayLike, answers: int) -> float:
    """Return the expected calibration error (Guo et al. 2017).

    It is the mean over answers of the distance, in their bin, of the mean confidence from the share
    of right answers.

    Args:
        sums: sum of the confidences in each bin.
        right: number of right answers in each bin.
        answers: number of all answers, at least 1.
    """
    return float(np.abs(np.subtract(sums, right)).sum() / answers)
