"""Drift: how far pictures and a model's outputs for them are from those it was validated on.

Three quantities are compared: the sides of the pictures, the confidences, and the features. Only
moments and counts of each are kept, because these can be added over batches, workers and time.

- Sides and confidences: the population stability index over bins, sum of (p - q) ln(p / q) (Siddiqi
  2006, Credit Risk Scorecards, ch. 8), which is the symmetric relative entropy of Jeffreys. By
  convention, a value below 0.1 means no change, and a value above 0.25 means a large change.
- Features: the squared Fréchet distance of two normal distributions (Dowson and Landau 1982) with
  diagonal covariances, divided by the total variance of the reference. It is 1 if the mean has
  moved by as much as the root mean square distance of the reference's features from their mean.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from artifacts.reference import Floats, Moments, Reference
from artifacts.strict import Strict

MIN_SHARE = 1e-4
"""Share that stands in for that of an empty bin, because the logarithm of 0 does not exist."""
LIMITS = {"sides": 0.25, "confidences": 0.25, "features": 0.1}
"""Distances above these count as drift. With the features of `cifar10-fast`, 200 test pictures of
CIFAR-10 have a distance of 0.02 at most; the same pictures blurred by a Gaussian of 1 px have 0.4,
digits and cars 1.1."""
MIN_ANSWERS = 200
"""Number of answers needed; with fewer, chance alone gives ten bins a distance above 0.05."""

Quantity = Literal["sides", "confidences", "features"]


class Distance(Strict):
    """How far one quantity has moved."""

    quantity: Quantity
    value: float
    """Population stability index (sides, confidences) or scaled Fréchet distance (features)."""
    by_chance: float
    """Value to expect without any change, given the numbers of pictures."""
    limit: float
    """A `value` above this counts as drift."""
    drifted: bool


def distances(reference: Reference, moments: Moments) -> tuple[Distance, ...]:
    """Return how far each quantity has moved, without those that the model does not give."""
    before = reference.moments
    chance = 1 / max(moments.pictures, 1) + 1 / before.pictures
    found: list[tuple[Quantity, float, float]] = []
    pairs: list[tuple[Quantity, tuple[int, ...], tuple[int, ...]]] = [
        ("sides", before.sides, moments.sides),
        ("confidences", before.confidences, moments.confidences),
    ]
    for quantity, then, now in pairs:
        if then:
            # the index is `chance` times a chi-squared variable (Yurdakul and Naranjo 2020)
            freedom = sum(count > 0 for count in then) - 1
            found.append((quantity, stability_index(then, now), freedom * chance))
    if before.mean:
        # for normal features, the mean contributes 1 and the standard deviation 0.5
        moved = float(feature_distances(before, moments).sum())
        found.append(("features", moved, 1.5 * chance))
    return tuple(
        Distance(
            quantity=quantity,
            value=value,
            by_chance=by_chance,
            limit=LIMITS[quantity],
            drifted=value > LIMITS[quantity],
        )
        for quantity, value, by_chance in found
    )


def stability_index(then: Sequence[int], now: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins."""
    p, q = (np.maximum(np.array(counts) / max(sum(counts), 1), MIN_SHARE) for counts in (then, now))
    return float(((q - p) * np.log(q / p)).sum())


def feature_distances(then: Moments, now: Moments) -> Floats:
    """Return the contribution of each of D dimensions to the distance of the features."""
    means = np.array(now.mean) - np.array(then.mean)
    deviations = np.sqrt(now.variance) - np.sqrt(then.variance)
    spread = max(float(np.sum(then.variance)), np.finfo(np.float64).tiny)
    parts: Floats = (means**2 + deviations**2) / spread
    return parts
