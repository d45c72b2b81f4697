"""Sets of classes that hold the true class with a chosen frequency (split conformal prediction).

The classes in a set are those whose probability reaches a threshold, which is a quantile of the
probability of the true class on calibration pictures: the least ambiguous set-valued classifier
(Sadinle, Lei and Wasserman 2019, arXiv 1609.00451). Among all rules with the same frequency it
gives the smallest sets on average. The frequency is that over all pictures like those calibrated
on, not that of each class. Probabilities are compared as log odds, because the largest ones cannot
be told from 1 in floating point.
"""

import math

import numpy as np
import numpy.typing as npt

from artifacts.intervals import interval
from artifacts.known.record import Coverage, SetsRecord

LEVELS = (0.0, 0.001, 0.002, 0.005, *(n / 100 for n in range(1, 101)))
"""Levels of the quantiles that are stored."""
CHECKED = (0.8, 0.9, 0.95)

Floats = npt.NDArray[np.float64]


def log_odds(logits: npt.NDArray[np.floating], temperature: float) -> Floats:
    """Return log(p / (1 - p)) of the calibrated probability p of each class.

    Args:
        logits: N x C, C at least 2.
        temperature: their divisor.

    Returns:
        float64 N x C.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    shares = np.exp(scaled)  # (N, C), the largest of each row is 1
    top = shares.argmax(axis=1)[:, None]
    rest = shares.sum(axis=1, keepdims=True) - shares
    without = shares.copy()
    np.put_along_axis(without, top, 0.0, axis=1)
    # subtracting the largest share from the sum would lose the small ones
    np.put_along_axis(rest, top, without.sum(axis=1, keepdims=True), axis=1)
    with np.errstate(divide="ignore"):
        odds: Floats = scaled - np.log(rest)
    return odds


def calibrate(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    temperature: float,
    data: str,
) -> SetsRecord:
    """Return the calibration on N pictures that the model was not trained on.

    Args:
        logits: N x C.
        labels: N class indices.
        temperature: divisor of the logits.
        data: description of the pictures.
    """
    true = log_odds(logits, temperature)[np.arange(len(labels)), labels]
    finite = np.clip(true, -1e6, 1e6)
    found = np.quantile(finite, LEVELS, method="inverted_cdf")
    return SetsRecord(
        data=data, pictures=len(labels), log_odds=tuple(float(f"{v:.6g}") for v in found)
    )


def threshold(record: SetsRecord, coverage: float) -> float:
    """Return the log odds from which on a class is in the set.

    Args:
        record: the calibration.
        coverage: frequency with which a set shall hold the truth, between 0 and 1.
    """
    n = record.pictures
    most = math.ceil((n + 1) * coverage)  # the correction for a finite sample
    if most > n:
        return -math.inf
    return float(np.interp(1 - most / n, LEVELS, record.log_odds))


def check(
    record: SetsRecord,
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    temperature: float,
    data: str,
) -> SetsRecord:
    """Return the record with the frequencies reached on N other pictures at `CHECKED`."""
    odds = log_odds(logits, temperature)
    true = odds[np.arange(len(labels)), labels]
    found = []
    for asked in CHECKED:
        least = threshold(record, asked)
        sizes = (odds >= least).sum(axis=1)
        reached = float((true >= least).mean())
        low, high = interval(reached * len(labels), len(labels))
        found.append(
            Coverage(
                asked=asked,
                data=data,
                pictures=len(labels),
                reached=round(reached, 4),
                low=round(low, 4),
                high=round(high, 4),
                mean_size=round(float(sizes.mean()), 3),
                empty=round(float((sizes == 0).mean()), 4),
            )
        )
    return record.model_copy(update={"checked": tuple(found)})
