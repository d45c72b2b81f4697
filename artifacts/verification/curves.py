"""Error rates over all thresholds, and summary figures of them with confidence intervals.

The terms are those of ISO/IEC 19795-1; see `artifacts.verification.error_rates`. The intervals are
from a bootstrap that resamples people, because pairs that share a person are not independent. A
pair of one person is weighted by how often that person was drawn, and a pair of two people by the
product of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from artifacts.verification.pairs import Floats, Ints, Measured

RESAMPLES = 200
INTERVAL = (2.5, 97.5)
"""Percentiles of the resampled values that bound an interval."""
CELLS = 4096
"""Number of pairs of people whose pairs of pictures are counted at a time."""
GRID = 256
"""Number of quantiles of either kind of pair that the thresholds of resampled curves are from."""


class Rate(NamedTuple):
    """A rate with its 95 % confidence interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Error rates at T thresholds; a pair matches if its distance is below the threshold."""

    thresholds: Floats
    """T ascending distances."""
    fmr: Floats
    """T shares of pairs of two people that match, from 0 to 1."""
    fnmr: Floats
    """T shares of pairs of one person that do not match, from 1 to 0."""

    @property
    def eer(self) -> float:
        """Equal error rate: the mean of both rates at the threshold where they differ least."""
        nearest = int(np.abs(self.fmr - self.fnmr).argmin())
        return float(self.fmr[nearest] + self.fnmr[nearest]) / 2

    @property
    def eer_threshold(self) -> float:
        """Threshold at the equal error rate."""
        return float(self.thresholds[np.abs(self.fmr - self.fnmr).argmin()])

    @property
    def auc(self) -> float:
        """Area under the ROC curve: the probability that a pair of one person is the nearer one."""
        return float(np.trapezoid(1 - self.fnmr, self.fmr))

    def fnmr_at(self, fmr: float) -> float:
        """Return the false-non-match rate at the largest threshold with at most this FMR."""
        return _fnmr_at(fmr, self.fmr, self.fnmr)


@dataclass(frozen=True)
class Summary:
    """Summary figures of a curve."""

    auc: Rate
    eer: Rate
    fnmr: dict[float, Rate]
    """False-non-match rates by false-match rate."""


def curve(measured: Measured) -> Curve:
    """Return the error rates at every distance that occurs, from no pair matching to all."""
    thresholds = np.concatenate([[0.0], np.unique(measured.distances), [np.inf]])
    different = np.sort(measured.distances[~measured.same])
    same = np.sort(measured.distances[measured.same])
    return Curve(
        thresholds=thresholds,
        fmr=np.searchsorted(different, thresholds, side="left") / len(different),
        fnmr=1 - np.searchsorted(same, thresholds, side="left") / len(same),
    )


def summary(measured: Measured, fmrs: Sequence[float] = (), *, seed: int) -> Summary:
    """Return the area under the curve, the equal error rate and FNMRs, with intervals.

    Args:
        measured: pairs of one person and of two.
        fmrs: false-match rates at which to give the false-non-match rate. Each resample has its own
            threshold, so that the intervals are for the curve and not for one threshold.
        seed: seed of the bootstrap.
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
    """Return how often each person is drawn in each resample, R x people."""
    return np.random.default_rng(seed).multinomial(people, [1 / people] * people, resamples)


def _resampled(measured: Measured, seed: int) -> tuple[Floats, Floats]:
    """Return the FMR and FNMR on a grid of thresholds, R x T each.

    Resamples without pairs of both kinds are left out.
    """
    count, numbers = measured.numbered
    distances, same = measured.distances, measured.same
    # quantiles: linearly spaced for pairs of one person, logarithmically for those of two people,
    # because low false-match rates matter most
    shares = np.concatenate([[0], np.logspace(-5, 0, GRID)])
    quantiles = [
        np.quantile(distances[~same], shares),
        np.quantile(distances[same], np.linspace(0, 1, GRID)),
    ]
    grid = np.unique(np.concatenate([[-1.0], *quantiles]))  # nothing matches below 0
    drawn = draws(count, seed, RESAMPLES).astype(np.float64)  # (R, people)
    matches, false_matches = (
        _matches(distances[kind], numbers[kind], grid, drawn) for kind in (same, ~same)
    )
    both = (matches[:, -1] > 0) & (false_matches[:, -1] > 0)
    matches, false_matches = matches[both], false_matches[both]
    return false_matches / false_matches[:, -1:], 1 - matches / matches[:, -1:]


def _matches(distances: Floats, people: Ints, grid: Floats, drawn: Floats) -> Floats:
    """Return the weight of the pairs within each threshold of a grid in each resample, R x T.

    Pairs of the same people have one weight, so that they are counted before they are weighted.

    Args:
        distances: P distances of pairs, all of one person or all of two.
        people: P x 2 numbers of the people.
        grid: T ascending thresholds, the last one the largest distance of all pairs.
        drawn: R x people, how often each person was drawn.
    """
    cells = np.sort(people, axis=1) @ (drawn.shape[1], 1)
    order = cells.argsort(kind="stable")
    places = np.searchsorted(grid, distances[order])  # the first threshold within which a pair is
    found, starts = np.unique(cells[order], return_index=True)
    starts = np.append(starts, len(order))
    total: Floats = np.zeros((len(drawn), len(grid)))
    for first in range(0, len(found), CELLS):
        some = found[first : first + CELLS]
        edges = starts[first : first + len(some) + 1]
        row = np.repeat(np.arange(len(some)), np.diff(edges))
        flat = row * len(grid) + places[edges[0] : edges[-1]]
        counts = np.bincount(flat, minlength=len(some) * len(grid)).reshape(len(some), -1)
        one, two = np.divmod(some, drawn.shape[1])
        weights = drawn[:, one] * np.where(one == two, 1.0, drawn[:, two])
        total += weights @ counts.cumsum(1)
    return total


def _fnmr_at(max_fmr: float, fmr: Floats, fnmr: Floats) -> float:
    """Return the FNMR at the last threshold whose FMR is at most `max_fmr`."""
    return float(fnmr[np.flatnonzero(fmr <= max_fmr)[-1]])


def _rate(value: float, resampled: Floats) -> Rate:
    low, high = np.percentile(resampled, INTERVAL) if len(resampled) else (0.0, 1.0)
    return Rate(value, (float(low), float(high)))
