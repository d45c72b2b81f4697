"""Sets of classes that hold the truth with a chosen frequency."""

import math

import numpy as np
import pytest

from artifacts.known.sets import CHECKED, calibrate, check, log_odds, threshold
from artifacts.runtime import probabilities


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of five classes, and labels drawn from their probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, 5))
    shares = probabilities(logits, 1.0)
    labels = np.array([random.choice(5, p=row) for row in shares])
    return logits, labels


def test_log_odds_are_those_of_the_probabilities() -> None:
    logits, _ = drawn(50, 0)
    shares = probabilities(logits, 2.0)
    np.testing.assert_allclose(log_odds(logits, 2.0), np.log(shares / (1 - shares)), rtol=1e-9)


def test_certain_pictures_are_still_told_apart() -> None:
    odds = log_odds(np.array([[100.0, 0, 0], [200.0, 0, 0]]), 1.0)
    np.testing.assert_allclose(odds[:, 0], [100 - math.log(2), 200 - math.log(2)])


def test_sets_hold_the_truth_as_often_as_asked() -> None:
    record = calibrate(*drawn(4000, 0), 1.0, "validation")
    checked = check(record, *drawn(20000, 1), 1.0, "test").checked
    assert [each.asked for each in checked] == list(CHECKED)
    for each in checked:
        assert each.reached == pytest.approx(each.asked, abs=0.015)
        assert each.low < each.reached < each.high
    sizes = [each.mean_size for each in checked]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_coverage_beyond_the_calibration_holds_all_classes() -> None:
    record = calibrate(*drawn(50, 0), 1.0, "validation")
    assert threshold(record, 0.99) == -math.inf
    assert threshold(record, 0.9) > threshold(record, 0.95)


def test_a_calibration_takes_the_correction_for_its_size() -> None:
    logits = np.log(np.array([[p, 1 - p] for p in np.linspace(0.01, 0.99, 99)]))
    record = calibrate(logits, np.zeros(99, np.int64), 1.0, "validation")
    # of 99 pictures, the (99 + 1) x 0.9 = 90 most certain must be inside
    inside = (log_odds(logits, 1.0)[:, 0] >= threshold(record, 0.9)).sum()
    assert inside == pytest.approx(90, abs=1)
