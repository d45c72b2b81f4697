"""What a threshold on distance does: error rates over pairs, with intervals by person.

Terms as in ISO/IEC 19795-1: false-match rate (FMR), the share of pairs of two people that lie
within a threshold; false-non-match rate (FNMR), the share of pairs of one person that do not; equal
error rate (EER), where both are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from artifacts import DataError
from artifacts.manifest import Metric, Pairs, Threshold

LEAST_MATCHES = 10
"""False matches that a target must let happen among the pairs, for its threshold to be placed."""
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap that bound an interval."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """Distances of pairs of pictures, and the people on them."""

    source: str
    distances: Floats
    """N."""
    people: Ints
    """N x 2: number of the person on each picture."""
    pictures: int
    """Pictures in which a face was found."""
    missed: int
    """Pictures in which none was; no pair has them."""

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """N: whether a pair is of one person."""
        same: npt.NDArray[np.bool_] = self.people[:, 0] == self.people[:, 1]
        return same

    @property
    def pairs(self) -> Pairs:
        """The pairs in numbers."""
        count = int(self.same.sum())
        return Pairs(
            dataset=self.source,
            people=len(np.unique(self.people)),
            same=count,
            different=len(self.people) - count,
        )


class Rate(NamedTuple):
    """A share with its 95 % interval."""

    value: float
    interval: tuple[float, float]


def choose(measured: Measured, targets: Sequence[float], seed: int) -> tuple[Threshold, ...]:
    """The greatest distance that keeps to each target false-match rate, on these pairs.

    Raises:
        DataError: too few pairs for a target.
    """
    different = np.sort(measured.distances[~measured.same])
    thresholds = []
    for target in sorted(targets):
        allowed = int(target * len(different))
        if allowed < LEAST_MATCHES:
            raise DataError(
                f"{measured.source}: {len(different):,} pairs of two people are too few for a "
                f"false-match rate of {target:g}; {LEAST_MATCHES / target:,.0f} are needed."
            )
        distance = float(different[allowed - 1])
        fmr, fnmr = rates(measured, distance, seed)
        thresholds.append(
            Threshold(
                target_fmr=target,
                distance=distance,
                fmr=fmr.value,
                fmr_interval=fmr.interval,
                fnmr=fnmr.value,
            )
        )
    return tuple(thresholds)


def rates(measured: Measured, distance: float, seed: int) -> tuple[Rate, Rate]:
    """False-match and false-non-match rate at a threshold, with intervals.

    The bootstrap draws people: a pair of one person counts as often as that person was drawn, a
    pair of two as often as both together (the product).
    """
    within = measured.distances <= distance
    wrong = np.where(measured.same, ~within, within)
    people, numbers = np.unique(measured.people, return_inverse=True)
    count = len(people)
    cell = numbers.reshape(-1, 2) @ (count, 1)
    shape = (count, count)
    failures: Floats = np.bincount(cell, wrong, count**2).reshape(shape).astype(np.float64)
    pairs: Floats = np.bincount(cell, minlength=count**2).reshape(shape).astype(np.float64)
    draws = np.random.default_rng(seed).multinomial(count, [1 / count] * count, RESAMPLES)
    drawn = draws.astype(np.float64)  # (RESAMPLES, people)
    return _different_rate(failures, pairs, drawn), _same_rate(failures, pairs, drawn)


def eer(measured: Measured) -> float:
    """Equal error rate: the mean of both rates where they are nearest."""
    same = np.sort(measured.distances[measured.same])
    different = np.sort(measured.distances[~measured.same])
    at = np.unique(measured.distances)
    fmr = np.searchsorted(different, at, "right") / len(different)
    fnmr = 1 - np.searchsorted(same, at, "right") / len(same)
    place = int(np.abs(fmr - fnmr).argmin())
    return float(fmr[place] + fnmr[place]) / 2


def report(measured: Measured, thresholds: Sequence[Threshold], seed: int) -> list[Metric]:
    """Equal error rate, rates at each threshold, and share of pictures with a face, as metrics."""
    pairs = measured.pairs
    split = measured.source
    total = measured.pictures + measured.missed
    metrics = [
        Metric(name="eer", value=eer(measured), split=split, samples=pairs.same + pairs.different),
        Metric(name="found", value=measured.pictures / total, split=split, samples=total),
    ]
    for threshold in thresholds:
        fmr, fnmr = rates(measured, threshold.distance, seed)
        for name, rate, samples in (("fmr", fmr, pairs.different), ("fnmr", fnmr, pairs.same)):
            named = {
                f"{name}@{threshold.target_fmr:g}": rate.value,
                f"{name}@{threshold.target_fmr:g}/low": rate.interval[0],
                f"{name}@{threshold.target_fmr:g}/high": rate.interval[1],
            }
            metrics += [
                Metric(name=key, value=value, split=split, samples=samples)
                for key, value in named.items()
            ]
    return metrics


def _different_rate(failures: Floats, pairs: Floats, drawn: Floats) -> Rate:
    """Of pairs of two people: cells off the diagonal, weighted by both people's draws."""
    wrong, all_ = (m - np.diag(np.diag(m)) for m in (failures, pairs))
    resampled = _shares(((drawn @ wrong) * drawn).sum(1), ((drawn @ all_) * drawn).sum(1))
    return _rate(wrong.sum(), all_, resampled)


def _same_rate(failures: Floats, pairs: Floats, drawn: Floats) -> Rate:
    """Of pairs of one person: cells on the diagonal."""
    wrong, all_ = np.diag(failures), np.diag(pairs)
    return _rate(wrong.sum(), all_, _shares(drawn @ wrong, drawn @ all_))


def _shares(wrong: Floats, all_: Floats) -> Floats:
    there = all_ > 0
    shares: Floats = wrong[there] / all_[there]
    return shares


def _rate(wrong: float, pairs: Floats, resampled: Floats) -> Rate:
    """Where nothing failed, resampling says nothing: the upper end is then by the rule of three.

    It takes each person, or each two people, for one trial (ISO/IEC 19795-1, annex B).
    """
    low, high = np.percentile(resampled, INTERVAL) if len(resampled) else (0.0, 1.0)
    if not wrong:
        high = min(1.0, 3 / max(int(np.count_nonzero(pairs)), 1))
    return Rate(float(wrong / max(pairs.sum(), 1)), (float(low), float(high)))
