"""Bins of the confidence, and the calibration error by hand."""

import numpy as np
import pytest

from artifacts.calibration import BINS, bins_of, calibration_error


def test_a_bin_has_its_upper_edge() -> None:
    assert bins_of([0, 0.01, 1 / BINS, 1.01 / BINS, 0.999, 1]).tolist() == [0, 0, 0, 1, 14, 14]
    assert int(bins_of(0.5)) == 7


def test_the_error_of_a_worked_example() -> None:
    # of two answers at 0.9 one is right, of three at 0.5 all are
    sums, right = np.zeros(BINS), np.zeros(BINS)
    sums[[13, 7]], right[[13, 7]] = [1.8, 1.5], [1, 3]
    expected = (2 * abs(0.9 - 1 / 2) + 3 * abs(0.5 - 1)) / 5
    assert calibration_error(sums, right, 5) == pytest.approx(expected)
