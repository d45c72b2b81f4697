"""Error rates over all thresholds at once, and what one number says of them, with its interval.

Terms as in ISO/IEC 19795-1, see `artifacts.verification`. Intervals are a bootstrap by person:
pairs that share a person are not independent, so people are drawn. A pair of one person counts as
often as that person was drawn, a pair of two as often as both together (the product).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from artifacts.verification.pairs import Floats, Ints, Measured

RESAMPLES = 200
INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap that bound an interval."""
GRID = 256
"""Thresholds of each kind at which resampled curves are computed."""


class Rate(NamedTuple):
    """A share with its 95 % interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Error rates over the threshold; pairs nearer than it are taken for one person."""

    thresholds: Floats
    """T, rising."""
    fmr: Floats
    """T: share of pairs of two people below the threshold, 0 to 1."""
    fnmr: Floats
    """T: share of pairs of one person not below it, 1 to 0."""

    @property
    def eer(self) -> float:
        """Equal error rate: where both are alike, their mean at the nearest threshold."""
        place = int(np.abs(self.fmr - self.fnmr).argmin())
        return float(self.fmr[place] + self.fnmr[place]) / 2

    @property
    def eer_threshold(self) -> float:
        """Threshold at the equal error rate."""
        return float(self.thresholds[np.abs(self.fmr - self.fnmr).argmin()])

    @property
    def auc(self) -> float:
        """Area under match rate over false-match rate: how often a pair of one person is nearer."""
        return float(np.trapezoid(1 - self.fnmr, self.fmr))

    def fnmr_at(self, fmr: float) -> float:
        """False-non-match rate at the greatest threshold with at most this false-match rate."""
        return _fnmr_at(fmr, self.fmr, self.fnmr)


@dataclass(frozen=True)
class Summary:
    """A curve in a few numbers."""

    auc: Rate
    eer: Rate
    fnmr: dict[float, Rate]
    """By false-match rate."""


def curve(measured: Measured) -> Curve:
    """Error rates at every distance that occurs, from no match at all to all."""
    thresholds = np.concatenate([[0.0], np.unique(measured.distances), [np.inf]])
    different = np.sort(measured.distances[~measured.same])
    same = np.sort(measured.distances[measured.same])
    return Curve(
        thresholds=thresholds,
        fmr=np.searchsorted(different, thresholds, side="left") / len(different),
        fnmr=1 - np.searchsorted(same, thresholds, side="left") / len(same),
    )


def summary(measured: Measured, fmrs: Sequence[float] = (), *, seed: int) -> Summary:
    """Area, equal error rate and false-non-match rates, with intervals.

    Args:
        measured: pairs of one person and of two.
        fmrs: false-match rates at which the other is wanted; the threshold is that of each
            resample, so that the interval is of the curve, and not of one threshold.
        seed: of the bootstrap.
    """
    exact = curve(measured)
    fmr, fnmr = _resampled(measured, seed)  # (R, T) each
    steps = np.diff(fmr, axis=1)
    areas = (steps * (1 - (fnmr[:, 1:] + fnmr[:, :-1]) / 2)).sum(1)
    rows = list(zip(fmr, fnmr, strict=True))
    equal = np.array([np.interp(0.0, a - b, (a + b) / 2) for a, b in rows])
    return Summary(
        auc=_rate(exact.auc, areas),
        eer=_rate(exact.eer, equal),
        fnmr={
            each: _rate(exact.fnmr_at(each), np.array([_fnmr_at(each, a, b) for a, b in rows]))
            for each in fmrs
        },
    )


def draws(people: int, seed: int, resamples: int) -> Ints:
    """How often each person is drawn in each resample, R x people."""
    return np.random.default_rng(seed).multinomial(people, [1 / people] * people, resamples)


def _resampled(measured: Measured, seed: int) -> tuple[Floats, Floats]:
    """Error rates at a grid of thresholds in each resample that has pairs of both kinds, R x T."""
    count, numbers = measured.numbered
    order = measured.distances.argsort(kind="stable")
    far, people, same = measured.distances[order], numbers[order], measured.same[order]
    # where either rate changes: evenly over the pairs of one person, by powers over those of two
    shares = np.concatenate([[0], np.logspace(-5, 0, GRID)])
    ends = [np.quantile(far[~same], shares), np.quantile(far[same], np.linspace(0, 1, GRID))]
    grid = np.unique(np.concatenate([[-1.0], *ends]))  # below 0 nothing matches
    one, two = people[same, 0], people[~same].T
    till_one, till_two = (np.searchsorted(far[kind], grid, "right") for kind in (same, ~same))
    fmrs, fnmrs = [], []
    for drawn in draws(count, seed, RESAMPLES):
        own = _sums(drawn[one], till_one)
        others = _sums(drawn[two[0]] * drawn[two[1]], till_two)
        if own[-1] and others[-1]:
            fmrs.append(others / others[-1])
            fnmrs.append(1 - own / own[-1])
    return np.stack(fmrs), np.stack(fnmrs)


def _fnmr_at(most: float, fmr: Floats, fnmr: Floats) -> float:
    """False-non-match rate at the last threshold whose false-match rate is at most this."""
    return float(fnmr[np.flatnonzero(fmr <= most)[-1]])


def _sums(weights: Ints, till: Ints) -> Ints:
    """Sums of the first 0, 1, ... weights, at the places asked for."""
    sums: Ints = np.concatenate([[0], np.cumsum(weights)])[till]
    return sums


def _rate(value: float, resampled: Floats) -> Rate:
    low, high = np.percentile(resampled, INTERVAL) if len(resampled) else (0.0, 1.0)
    return Rate(value, (float(low), float(high)))
