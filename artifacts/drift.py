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

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise, starmap
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from artifacts.strict import Strict

SMALLEST_SIDE = 8
SIDE_BINS = 19
"""Bin i holds sides around 8 * 2^(i/2) px, the last around 4096 px: doubled areas."""
LEAST_SHARE = 1e-4
"""Stands for the share of an empty bin, whose logarithm there is none of."""
LIMITS = {"sides": 0.25, "confidences": 0.25, "features": 0.1}
"""Distances beyond are called drift. By `cifar10-fast`'s features 200 test pictures of CIFAR-10 lie
at 0.02 at most; the same blurred by a Gaussian of 1 px at 0.4, digits and cars at 1.1."""
LEAST_ANSWERS = 200
"""With fewer, chance alone moves ten bins by more than 0.05."""

Quantity = Literal["sides", "confidences", "features"]
Floats = npt.NDArray[np.float64]


class Moments(Strict):
    """What is kept of N pictures and the answers to them."""

    pictures: int = Field(ge=0)
    sides: tuple[int, ...] = Field(min_length=SIDE_BINS, max_length=SIDE_BINS)
    """Pictures by side, sqrt(width x height) as sent, in bins around 8 * 2^(i/2) px."""
    confidences: tuple[int, ...] = ()
    """Pictures by probability of the likeliest class, in the bins of `Reference.edges`."""
    mean: tuple[float, ...] = ()
    """Of each dimension of the features; empty for a graph that gives none."""
    variance: tuple[float, ...] = ()
    """As `mean`; over N."""


class Reference(Strict):
    """Moments of pictures that a model was validated on."""

    data: str
    """Which pictures."""
    edges: tuple[float, ...] = ()
    """Ascending confidences between two bins: deciles of the reference, equal ones once."""
    moments: Moments

    @model_validator(mode="after")
    def _fits(self) -> Self:
        moments = self.moments
        counts = (moments.sides, *([moments.confidences] if self.edges else []))
        if any(sum(each) != moments.pictures for each in counts) or not moments.pictures:
            raise ValueError("every picture counts in one bin of each histogram")
        if self.edges and len(moments.confidences) != len(self.edges) + 1:
            raise ValueError("edges lie between bins: one fewer than these is expected")
        if len(moments.mean) != len(moments.variance):
            raise ValueError("every dimension has a mean and a variance")
        return self


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


class Sums:
    """Adds up pictures and answers, to moments.

    Sums of features are taken from the mean of the reference, which keeps their squares small.

    Args:
        reference: that they will be compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self._edges = np.array(reference.edges)
        self._centre = np.array(reference.moments.mean)
        bins = (1, SIDE_BINS, len(reference.moments.confidences))
        ends = [0, *accumulate((*bins, len(self._centre), len(self._centre)))]
        self.size = ends[-1]
        """Numbers that sums consist of."""
        self._parts = tuple(starmap(slice, pairwise(ends)))  # np.split took 50 times as long

    def of(
        self, sizes: Sequence[tuple[int, int]], confidences: Floats | None, features: Floats | None
    ) -> Floats:
        """What N pictures add: `size` numbers.

        Args:
            sizes: N pairs (width, height), px.
            confidences: N probabilities of the likeliest class; None where there are no classes.
            features: N x D; None where there are none.
        """
        values = np.zeros(self.size)
        pictures, sides, sure, moved, squares = (values[part] for part in self._parts)  # views
        pictures[0] = len(sizes)
        for place in side_bins(sizes):
            sides[place] += 1
        if confidences is not None:
            places = np.searchsorted(self._edges, confidences)
            sure += np.bincount(places, minlength=len(sure))
        if features is not None:
            apart = features - self._centre  # (N, D)
            apart.sum(axis=0, out=moved)
            np.einsum("nd,nd->d", apart, apart, out=squares)
        return values

    def moments(self, values: Floats) -> Moments:
        """Moments of all pictures that are in sums of `of`."""
        pictures, sides, confidences, moved, squares = (values[part] for part in self._parts)
        number = max(float(pictures[0]), 1.0)
        variance = np.maximum(squares / number - (moved / number) ** 2, 0.0)
        return Moments(
            pictures=int(pictures[0]),
            sides=tuple(sides.astype(int).tolist()),
            confidences=tuple(confidences.astype(int).tolist()),
            mean=tuple((self._centre + moved / number).tolist()),
            variance=tuple(variance.tolist()),
        )


def side_bins(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Bin of the side, sqrt(width x height), of each of N sizes (width, height), px."""
    smallest = 2 * math.log2(SMALLEST_SIDE)
    places = (round(math.log2(width * height) - smallest) for width, height in sizes)
    return [min(max(place, 0), SIDE_BINS - 1) for place in places]


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
