"""Error rates over all thresholds at once, and what one number says of them, with its interval.

Terms as in ISO/IEC 19795-1, see `artifacts.verification`. Intervals are a bootstrap by person:
pairs that share a person are not independent, so people are drawn. A pair of one person counts as
often as that person was drawn, a pair of two as often as both together (the product).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from artifacts.pairs import Floats, Measured

RESAMPLES = 1000
CHUNK = 100
"""Resamples computed at a time."""
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
        allowed = np.flatnonzero(self.fmr <= fmr)
        return float(self.fnmr[allowed[-1]])


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
            each: _rate(exact.fnmr_at(each), np.array([np.interp(each, a, b) for a, b in rows]))
            for each in fmrs
        },
    )


def draws(people: int, seed: int) -> Floats:
    """How often each person is drawn in each resample, RESAMPLES x people."""
    drawn = np.random.default_rng(seed).multinomial(people, [1 / people] * people, RESAMPLES)
    return drawn.astype(np.float64)


def _resampled(measured: Measured, seed: int) -> tuple[Floats, Floats]:
    """Error rates at a grid of thresholds in each resample that has pairs of both kinds."""
    count, numbers = measured.numbered
    numbers = np.sort(numbers, axis=1)
    same = measured.same
    # where either rate changes: evenly over the pairs of one person, by powers over those of two
    shares = np.concatenate([[0], np.logspace(-5, 0, GRID)])
    grid = np.unique(
        np.concatenate(
            [
                np.quantile(measured.distances[~same], shares),
                np.quantile(measured.distances[same], np.linspace(0, 1, GRID)),
            ]
        )
    )
    bins = np.searchsorted(grid, measured.distances)  # at most the grid's last: d <= grid[bin]
    first, second = np.triu_indices(count, 1)
    place = np.zeros((count, count), np.int64)
    place[first, second] = np.arange(len(first))
    cells = place[numbers[:, 0], numbers[:, 1]]
    width = len(grid)
    ones = np.bincount(numbers[same, 0] * width + bins[same], minlength=count * width)
    twos = np.bincount(cells[~same] * width + bins[~same], minlength=len(first) * width)
    of_one = ones.reshape(count, width).astype(np.float64)
    of_two = twos.reshape(len(first), width).astype(np.float32)  # counts: exact
    fmrs, fnmrs = [], []
    for drawn in np.split(draws(count, seed), RESAMPLES // CHUNK):
        together = (drawn[:, first] * drawn[:, second]).astype(np.float32)
        matches = np.cumsum((together @ of_two).astype(np.float64), 1)  # (CHUNK, T)
        own = np.cumsum(drawn @ of_one, 1)
        there = (matches[:, -1] > 0) & (own[:, -1] > 0)
        fmrs.append(_from_nothing(matches[there] / matches[there, -1:], 0.0))
        fnmrs.append(_from_nothing(1 - own[there] / own[there, -1:], 1.0))
    return np.concatenate(fmrs), np.concatenate(fnmrs)


def _from_nothing(rates: Floats, first: float) -> Floats:
    """The rate where nothing matches put before the others: R x T -> R x (T + 1)."""
    start = np.full((len(rates), 1), first)
    return np.concatenate([start, rates], 1)


def _rate(value: float, resampled: Floats) -> Rate:
    low, high = np.percentile(resampled, INTERVAL) if len(resampled) else (0.0, 1.0)
    return Rate(value, (float(low), float(high)))
