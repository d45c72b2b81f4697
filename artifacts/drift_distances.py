"""How far pictures, and what a model makes of them, lie from those it was validated on.

Three quantities are compared: sides of pictures, confidences, and features. Of each only moments
and counts are kept, which add up: over batches, over workers, over time.

- Sides and confidences: the population stability index over bins, sum of (p - q) ln(p / q) (Siddiqi
  2006, Credit Risk Scorecards, ch. 8), the symmetric relative entropy of Jeffreys. By convention
  below 0.1 nothing has changed, and above 0.25 much has.
- Features: the squared Fréchet distance of two normal distributions (Dowson and Landau 1982) with
  diagonal covariances, over the variance of the reference, all dimensions together. It is 1 where
  the mean has moved as far as the pictures of the reference lie from theirs, root mean square.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from artifacts.reference import Floats, Moments, Reference
from artifacts.strict import Strict

LEAST_SHARE = 1e-4
"""Stands for the share of an empty bin, whose logarithm there is none of."""
LIMITS = {"sides": 0.25, "confidences": 0.25, "features": 0.1}
"""Distances beyond are called drift. By `cifar10-fast`'s features 200 test pictures of CIFAR-10 lie
at 0.02 at most; the same blurred by a Gaussian of 1 px at 0.4, digits and cars at 1.1."""
LEAST_ANSWERS = 200
"""With fewer, chance alone moves ten bins by more than 0.05."""

Quantity = Literal["sides", "confidences", "features"]


class Distance(Strict):
    """How far one quantity has moved."""

    quantity: Quantity
    value: float
    """sides, confidences: population stability index. features: Fréchet distance over variance."""
    by_chance: float
    """What to expect where nothing has changed, from the numbers of pictures alone."""
    limit: float
    """`value` beyond is called drift."""
    drifted: bool


def distances(reference: Reference, moments: Moments) -> tuple[Distance, ...]:
    """How far each quantity has moved; one that the model does not give is left out."""
    before = reference.moments
    chance = 1 / max(moments.pictures, 1) + 1 / before.pictures
    found: list[tuple[Quantity, float, float]] = []
    pairs: list[tuple[Quantity, tuple[int, ...], tuple[int, ...]]] = [
        ("sides", before.sides, moments.sides),
        ("confidences", before.confidences, moments.confidences),
    ]
    for quantity, then, now in pairs:
        if then:
            # chi-squared with as many degrees of freedom (Yurdakul and Naranjo 2020)
            freedom = sum(count > 0 for count in then) - 1
            found.append((quantity, stability(then, now), freedom * chance))
    if before.mean:
        # of normal features: a variance's worth for the mean, half of one for the deviation
        found.append(("features", float(moved_by_dimension(before, moments).sum()), 1.5 * chance))
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


def stability(then: Sequence[int], now: Sequence[int]) -> float:
    """Population stability index of two histograms over the same bins."""
    p, q = (
        np.maximum(np.array(counts) / max(sum(counts), 1), LEAST_SHARE) for counts in (then, now)
    )
    return float(((q - p) * np.log(q / p)).sum())


def moved_by_dimension(then: Moments, now: Moments) -> Floats:
    """What each of D dimensions adds to the distance of features."""
    means = np.array(now.mean) - np.array(then.mean)
    deviations = np.sqrt(now.variance) - np.sqrt(then.variance)
    spread = max(float(np.sum(then.variance)), np.finfo(np.float64).tiny)
    parts: Floats = (means**2 + deviations**2) / spread
    return parts
