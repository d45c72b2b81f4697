"""Error rates over all thresholds, on numbers that can be counted by hand."""

import numpy as np
import pytest

from artifacts.verification.curves import curve, summary
from artifacts.verification.pairs import Measured, all_pairs


def measured(same: list[float], different: list[float]) -> Measured:
    """Pairs of one person each, and of two people each."""
    people = [(i, i) for i in range(len(same))] + [(i, i + 1) for i in range(len(different))]
    return Measured("test", np.array(same + different), np.array(people), 10, 0)


def test_a_worked_example() -> None:
    rates = curve(measured([1.0, 2.0, 3.0, 6.0], [4.0, 5.0, 7.0, 8.0]))
    place = rates.thresholds.tolist().index(6.0)
    assert (rates.fmr[place], rates.fnmr[place]) == (0.5, 0.25)
    assert rates.eer == 0.25  # at 5: one of four each
    assert rates.eer_threshold == 5.0
    assert rates.fnmr_at(0.0) == 0.25
    # of 16 pairs of pairs, the same person's is nearer in all but (6, 4) and (6, 5)
    assert rates.auc == pytest.approx(14 / 16)


def test_a_tie_counts_half() -> None:
    assert curve(measured([1.0, 1.0], [1.0, 1.0])).auc == pytest.approx(0.5)


def test_intervals_hold_the_value_and_shrink_with_people() -> None:
    random = np.random.default_rng(0)
    widths = []
    for count in (12, 60):
        people = np.arange(count).repeat(4)
        vectors = random.normal(size=(count, 3)).repeat(4, 0) + random.normal(
            0, 0.6, (4 * count, 3)
        )
        pairs = all_pairs(vectors.astype(np.float32), people, "test", "euclidean")
        exact, found = curve(pairs), summary(pairs, (1e-1, 1e-2), seed=0)
        assert found.auc.value == exact.auc
        assert found.fnmr[1e-2].value == exact.fnmr_at(1e-2)
        for rate in (found.auc, found.eer, *found.fnmr.values()):
            assert rate.interval[0] < rate.value < rate.interval[1]
        widths.append(found.eer.interval[1] - found.eer.interval[0])
    assert widths[1] < 0.7 * widths[0]


def test_apart_is_apart_in_every_resample() -> None:
    vectors = np.eye(5).repeat(3, 0).astype(np.float32)
    pairs = all_pairs(vectors, np.arange(5).repeat(3), "test", "euclidean")
    found = summary(pairs, (1e-2,), seed=0)
    assert found.auc == (1.0, (1.0, 1.0))
    assert found.eer == (0.0, (0.0, 0.0))
    assert found.fnmr[1e-2] == (0.0, (0.0, 0.0))


def test_intervals_hold_the_value_where_many_distances_are_alike() -> None:
    people = np.arange(10).repeat(4)
    vectors = np.zeros((40, 2), np.float32)  # dead embeddings: every second picture's is zero
    vectors[1::2] = np.random.default_rng(0).normal(size=(20, 2))
    found = summary(all_pairs(vectors, people, "test", "euclidean"), (1e-2,), seed=0).fnmr[1e-2]
    assert found.interval[0] <= found.value <= found.interval[1]
    assert found.value == 1.0  # no threshold takes some of the ties, and not all
