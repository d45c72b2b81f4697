"""Error rates of thresholds, on numbers that can be counted by hand."""

import numpy as np
import pytest

from artifacts import DataError
from artifacts.verification.error_rates import choose, rates, report
from artifacts.verification.pairs import Measured, pooled


def measured(same: list[float], different: list[float]) -> Measured:
    """Pairs of one person (number 0, 1, ...) each, and of persons (0, 1), (1, 2), ..."""
    count = max(len(same), len(different) + 1)
    people = [(i, i) for i in range(len(same))]
    people += [(i % count, (i + 1) % count) for i in range(len(different))]
    return Measured("test", np.array(same + different), np.array(people), 10, 2)


EXAMPLE = measured([0.1, 0.2, 0.3, 0.6], [0.25, 0.5, 0.7, 0.8, 0.9])


def test_rates_count_pairs() -> None:
    fmr, fnmr = rates(EXAMPLE, 0.25, seed=0)
    assert fmr.value == pytest.approx(1 / 5), "a pair at the threshold matches"
    assert fnmr.value == pytest.approx(2 / 4)
    fmr, fnmr = rates(EXAMPLE, 0.5, seed=0)
    assert (fmr.value, fnmr.value) == pytest.approx((2 / 5, 1 / 4))


def test_no_failure_is_no_proof_of_none() -> None:
    fmr, fnmr = rates(measured([0.1] * 60, [0.5] * 30), 0.2, seed=0)
    assert (fmr.value, fnmr.value) == (0.0, 0.0)
    assert fmr.interval == pytest.approx((0, 3 / 30)), "30 pairs of two people"
    assert fnmr.interval == pytest.approx((0, 3 / 60)), "60 people"


def test_two_people_are_one_trial_whichever_comes_first() -> None:
    people = np.array([(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (0, 2)])
    apart = Measured("test", np.array([0.1] + [0.5] * 5), people, 10, 0)
    assert rates(apart, 0.2, seed=0)[0].interval == (0.0, 1.0), "3 / 3: three trials"
    many = [(a, b) for a in range(10) for b in range(10) if a != b]
    apart = Measured("test", np.array([0.1] + [0.5] * 90), np.array([(0, 0), *many]), 10, 0)
    assert rates(apart, 0.2, seed=0)[0].interval == pytest.approx((0, 3 / 45))


def test_a_threshold_keeps_to_its_target() -> None:
    random = np.random.default_rng(0)
    far = random.random(1000)
    chosen = choose(measured([0.1] * 50, far.tolist()), [1e-2, 1e-1], seed=0)
    strict, loose = chosen
    assert (strict.target_fmr, loose.target_fmr) == (1e-2, 1e-1)
    assert strict.distance == np.sort(far)[9], "10 of 1,000 pairs match"
    assert (strict.fmr, loose.fmr) == pytest.approx((1e-2, 1e-1))
    for threshold in chosen:
        low, high = threshold.fmr_interval
        assert low < threshold.fmr < high


def test_a_threshold_keeps_to_its_target_where_distances_are_alike() -> None:
    far = [0.2] * 8 + [0.3] * 10 + [0.9] * 182
    (chosen,) = choose(measured([0.1] * 50, far), [0.05], seed=0)
    assert (chosen.distance, chosen.fmr) == (0.2, 8 / 200), "10 may match; 0.3 would let 18"
    with pytest.raises(DataError, match="no threshold keeps to that"):
        choose(measured([0.1] * 50, [0.5] * 200), [0.05], seed=0)


def test_people_make_the_interval_not_pairs() -> None:
    """Ten people whose every pair has the same answer say no more than ten pairs each."""
    random = np.random.default_rng(0)
    pairs = [(a, b) for a in range(10) for b in range(a + 1, 10)]
    answers = random.random(len(pairs))
    once = Measured("once", answers, np.array(pairs), 1, 0)
    often = Measured("often", np.repeat(answers, 100), np.repeat(pairs, 100, axis=0), 1, 0)
    assert rates(once, 0.3, seed=1)[0] == rates(often, 0.3, seed=1)[0]


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(DataError, match=r"10,000 are needed"):
        choose(EXAMPLE, [1e-3], seed=0)


def test_a_report_has_all_rates() -> None:
    many = measured([0.1] * 20, np.linspace(0.2, 1, 2000).tolist())
    metrics = {m.name: m for m in report(many, choose(many, [1e-2], seed=0), seed=0)}
    assert metrics["found"].value == pytest.approx(10 / 12)
    assert metrics["fmr@0.01"].value == pytest.approx(0.01)
    assert metrics["fnmr@0.01"].samples == 20
    assert metrics["fmr@0.01/low"].value <= 0.01 <= metrics["fmr@0.01/high"].value


def source(name: str, people: int, often: int, near: float) -> Measured:
    """People each of whom is paired with everybody `often` times, with a share of near pairs."""
    pairs = [(a, b) for a in range(people) for b in range(a, people)] * often
    random = np.random.default_rng(people)
    away = np.where(
        [a == b for a, b in pairs], 0.1, np.where(random.random(len(pairs)) < near, 0.3, 0.9)
    )
    return Measured(name, away + random.random(len(pairs)) / 100, np.array(pairs), people, 1)


def test_sources_count_by_their_people() -> None:
    few, many = source("few", 10, 20, 0.2), source("many", 30, 2, 0.02)
    both = pooled([few, many])
    assert (both.source, both.pictures, both.missed) == ("few and many", 40, 2)
    assert (both.pairs.people, len(both.distances)) == (40, 1_100 + 930)
    fmr, fnmr = rates(both, 0.5, seed=0)
    one, other = rates(few, 0.5, seed=0)[0].value, rates(many, 0.5, seed=0)[0].value
    assert fmr.value == pytest.approx((10 * one + 30 * other) / 40)
    assert one > 5 * other
    assert fnmr.value == 0
    assert fmr.interval[0] < fmr.value < fmr.interval[1]


def test_a_threshold_of_several_sources_keeps_to_its_target() -> None:
    both = pooled([source("few", 10, 20, 0.2), source("many", 30, 2, 0.02)])
    (threshold,) = choose(both, [0.03], seed=0)
    assert threshold.fmr == pytest.approx(0.03, abs=0.002)
    assert threshold.fmr <= 0.03
    assert rates(both, threshold.distance, seed=0)[0].value == pytest.approx(threshold.fmr)


def test_one_source_is_left_as_it_is() -> None:
    assert pooled([EXAMPLE]) is EXAMPLE
