"""What a threshold on distance does: error rates over pairs, with intervals by person.

Terms as in ISO/IEC 19795-1: false-match rate (FMR), the share of pairs of two people that lie
within a threshold; false-non-match rate (FNMR), the share of pairs of one person that do not; equal
error rate (EER), where both are alike.
"""

from collections.abc import Sequence

import numpy as np

from artifacts.errors import DataError
from artifacts.manifest import Metric
from artifacts.verification.curves import INTERVAL, Rate, draws, summary
from artifacts.verification.decision import Threshold
from artifacts.verification.pairs import Floats, Measured

RESAMPLES = 1000
LEAST_MATCHES = 10
"""False matches that a target must let happen among the pairs, for its threshold to be placed."""


def choose(measured: Measured, targets: Sequence[float], seed: int) -> tuple[Threshold, ...]:
    """The greatest distance that keeps to each target false-match rate, on these pairs.

    A pair at the threshold matches. Pairs of one distance match together or not at all: where they
    are alike in many, the rate that is measured lies below the target.

    Args:
        measured: pairs of one person and of two.
        targets: false-match rates, above 0 and below 1.
        seed: of the bootstrap.

    Raises:
        DataError: too few pairs for a target, or too many at one distance.
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
        matching = int(np.searchsorted(different, different[allowed]))
        if not matching:
            raise DataError(
                f"{measured.source}: more than {target:g} of the pairs of two people are "
                f"{different[0]:g} apart, the least distance there is: no threshold keeps to that "
                "false-match rate."
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
    """False-match and false-non-match rate at a threshold, with their 95 % intervals.

    The bootstrap draws people: see `artifacts.curves`.

    Args:
        measured: pairs of one person and of two.
        distance: up to and with which a pair matches.
        seed: of the bootstrap.
    """
    within = measured.distances <= distance
    wrong = np.where(measured.same, ~within, within)
    count, numbers = measured.numbered
    cell = np.sort(numbers, axis=1) @ (count, 1)  # of two people, whichever comes first
    shape = (count, count)
    failures: Floats = np.bincount(cell, wrong, count**2).reshape(shape).astype(np.float64)
    pairs: Floats = np.bincount(cell, minlength=count**2).reshape(shape).astype(np.float64)
    drawn = draws(count, seed, RESAMPLES).astype(np.float64)
    return _different_rate(failures, pairs, drawn), _same_rate(failures, pairs, drawn)


def report(measured: Measured, thresholds: Sequence[Threshold], seed: int) -> list[Metric]:
    """Area under the curve, equal error rate, rates at each threshold, share of faces found."""
    pairs, split = measured.pairs, measured.source
    total = measured.pictures + measured.missed
    whole = summary(measured, seed=seed)
    both = pairs.same + pairs.different
    found = [("auc", whole.auc, both), ("eer", whole.eer, both)]
    for threshold in thresholds:
        fmr, fnmr = rates(measured, threshold.distance, seed)
        at = f"@{threshold.target_fmr:g}"
        found += [(f"fmr{at}", fmr, pairs.different), (f"fnmr{at}", fnmr, pairs.same)]
    share = measured.pictures / total
    return [
        Metric(name="found", value=share, split=split, samples=total),
        *(
            Metric(name=name + end, value=value, split=split, samples=samples)
            for name, rate, samples in found
            for end, value in zip(("", "/low", "/high"), (rate.value, *rate.interval), strict=True)
        ),
    ]


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
