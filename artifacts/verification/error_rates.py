"""Thresholds on the distance, and their error rates with confidence intervals by person.

The terms are those of ISO/IEC 19795-1. The false-match rate (FMR) is the share of pairs of two
people whose distance is within a threshold. The false-non-match rate (FNMR) is the share of pairs
of one person whose distance is not. The equal error rate (EER) is the value where both are equal.
"""

from collections.abc import Sequence

import numpy as np

from artifacts.errors import DataError
from artifacts.manifest import Metric
from artifacts.verification.curves import INTERVAL, Rate, draws, summary
from artifacts.verification.decision import Threshold
from artifacts.verification.pairs import Floats, Measured

RESAMPLES = 1000
MIN_FALSE_MATCHES = 10
"""Minimum number of false matches that a target must allow, so that its threshold is reliable."""


def choose(measured: Measured, targets: Sequence[float], seed: int) -> tuple[Threshold, ...]:
    """Choose the largest threshold that keeps each target false-match rate on these pairs.

    Pairs count by their weights. A pair at the threshold matches. If many pairs have the same
    distance, they match together or not at all, and the measured rate is below the target.

    Args:
        measured: pairs of one person and of two.
        targets: false-match rates, above 0 and below 1.
        seed: seed of the bootstrap.

    Returns:
        The thresholds, in the order of ascending targets.

    Raises:
        DataError: there are too few pairs for a target, or too many at one distance.
    """
    apart = ~measured.same
    order = measured.distances[apart].argsort(kind="stable")
    different = measured.distances[apart][order]
    within = np.cumsum(measured.weight(apart)[order])
    thresholds = []
    for target in sorted(targets):
        allowed = int(np.searchsorted(within, target * len(different), "right"))
        if allowed < MIN_FALSE_MATCHES:
            raise DataError(
                f"{measured.source}: {len(different):,} pairs of two people are too few for a "
                f"false-match rate of {target:g}; {MIN_FALSE_MATCHES / target:,.0f} are needed. "
                "Add pictures or raise the target."
            )
        matching = int(np.searchsorted(different, different[allowed]))
        if not matching:
            raise DataError(
                f"{measured.source}: a share of more than {target:g} of the pairs of two people "
                f"has the smallest distance, {different[0]:g}: no threshold keeps to that "
                "false-match rate. A higher rate, or a network that separates people better, does."
            )
        distance = float(different[matching - 1])
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
    """Return the false-match and the false-non-match rate at a threshold, with 95 % intervals.

    The bootstrap resamples people; see `artifacts.verification.curves`.

    Args:
        measured: pairs of one person and of two.
        distance: threshold up to which, inclusive, a pair matches.
        seed: seed of the bootstrap.
    """
    within = measured.distances <= distance
    wrong = np.where(measured.same, ~within, within)
    count, numbers = measured.numbered
    cell = np.sort(numbers, axis=1) @ (count, 1)  # the order of the two people does not matter
    shape = (count, count)
    weights = measured.weight(np.ones(len(cell), bool))
    failures, pairs = (
        np.bincount(cell, weight, count**2).astype(np.float64).reshape(shape)
        for weight in (wrong * weights, weights)
    )
    drawn = draws(count, seed, RESAMPLES).astype(np.float64)
    return _different_rate(failures, pairs, drawn), _same_rate(failures, pairs, drawn)


def report(measured: Measured, thresholds: Sequence[Threshold], seed: int) -> list[Metric]:
    """Return the metrics of a manifest: AUC, EER, rates at each threshold, share of faces found."""
    pairs, split = measured.pairs, measured.source
    total = measured.pictures + measured.missed
    curve = summary(measured, seed=seed)
    both = pairs.same + pairs.different
    figures = [("auc", curve.auc, both), ("eer", curve.eer, both)]
    for threshold in thresholds:
        fmr, fnmr = rates(measured, threshold.distance, seed)
        suffix = f"@{threshold.target_fmr:g}"
        figures += [(f"fmr{suffix}", fmr, pairs.different), (f"fnmr{suffix}", fnmr, pairs.same)]
    share = measured.pictures / total
    return [
        Metric(name="found", value=share, split=split, samples=total),
        *(
            Metric(name=name + end, value=value, split=split, samples=samples)
            for name, rate, samples in figures
            for end, value in zip(("", "/low", "/high"), (rate.value, *rate.interval), strict=True)
        ),
    ]


def _different_rate(failures: Floats, pairs: Floats, drawn: Floats) -> Rate:
    """Return the rate of the pairs of two people: the cells off the diagonal."""
    wrong, all_ = (m - np.diag(np.diag(m)) for m in (failures, pairs))
    resampled = _shares(((drawn @ wrong) * drawn).sum(1), ((drawn @ all_) * drawn).sum(1))
    return _rate(wrong.sum(), all_, resampled)


def _same_rate(failures: Floats, pairs: Floats, drawn: Floats) -> Rate:
    """Return the rate of the pairs of one person: the cells on the diagonal."""
    wrong, all_ = np.diag(failures), np.diag(pairs)
    return _rate(wrong.sum(), all_, _shares(drawn @ wrong, drawn @ all_))


def _shares(wrong: Floats, all_: Floats) -> Floats:
    there = all_ > 0
    shares: Floats = wrong[there] / all_[there]
    return shares


def _rate(wrong: float, pairs: Floats, resampled: Floats) -> Rate:
    """Return the rate with its interval.

    Resampling gives no interval if nothing failed. The upper end then follows the rule of three,
    with each person, or each two people, as one trial (ISO/IEC 19795-1, annex B).
    """
    low, high = np.percentile(resampled, INTERVAL) if len(resampled) else (0.0, 1.0)
    if not wrong:
        high = min(1.0, 3 / max(int(np.count_nonzero(pairs)), 1))
    return Rate(float(wrong / max(pairs.sum(), 1)), (float(low), float(high)))
