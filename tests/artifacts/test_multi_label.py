"""Figures against scikit-learn and torchmetrics; thresholds against brute force."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torchmetrics.functional.classification import multilabel_average_precision

from artifacts.manifest import DEFAULT_THRESHOLD
from artifacts.multi_label import best_thresholds, decide, mean_average_precision

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.random((200, 6)) < np.linspace(0.05, 0.6, 6)
SCORES = np.clip(RANDOM.normal(0.4 + 0.2 * TRUTH, 0.2), 0, 1)
TIED = SCORES.round(1)
"""The same scores, of which many are equal."""


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["distinct", "tied"])
def test_mean_average_precision_is_that_of_the_libraries(scores: np.ndarray) -> None:
    found = mean_average_precision(scores, TRUTH)
    assert found == pytest.approx(average_precision_score(TRUTH, scores, average="macro"))
    peer = multilabel_average_precision(
        torch.from_numpy(scores), torch.from_numpy(TRUTH).long(), num_labels=6
    )
    assert found == pytest.approx(float(peer), abs=1e-6)


def test_f1_is_that_of_scikit_learn() -> None:
    thresholds = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    present = np.array(thresholds) <= SCORES
    done = decide(SCORES, thresholds, TRUTH)
    assert done.f1_macro == pytest.approx(f1_score(TRUTH, present, average="macro"))
    assert done.f1_micro == pytest.approx(f1_score(TRUTH, present, average="micro"))
    assert done.right.tolist() == (present & TRUTH).sum(axis=0).tolist()


def test_a_class_that_no_picture_has_does_not_count_in_the_means() -> None:
    truth = TRUTH.copy()
    truth[:, 2] = False
    rest = [0, 1, 3, 4, 5]
    assert mean_average_precision(SCORES, truth) == pytest.approx(
        mean_average_precision(SCORES[:, rest], truth[:, rest])
    )
    halves = (0.5,) * 6
    assert decide(SCORES, halves, truth).f1_macro == pytest.approx(
        decide(SCORES[:, rest], halves[:5], truth[:, rest]).f1_macro
    )
    nothing = np.zeros_like(truth)
    assert mean_average_precision(SCORES, nothing) == 0
    assert decide(SCORES, (1.1,) * 6, nothing).f1_macro == 0
    assert decide(SCORES, (1.1,) * 6, nothing).f1_micro == 0


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["distinct", "tied"])
def test_no_other_threshold_has_a_larger_f1(scores: np.ndarray) -> None:
    thresholds = best_thresholds(scores, TRUTH)
    assert len(thresholds) == 6
    for c, threshold in enumerate(thresholds):
        own = f1_score(TRUTH[:, c], scores[:, c] >= threshold)
        others = [f1_score(TRUTH[:, c], scores[:, c] >= t) for t in [0.0, *scores[:, c]]]
        assert own == max(others)
        assert threshold == round(threshold, 6)


def test_thresholds_lie_between_probabilities_and_in_range() -> None:
    truth = np.array([[True, True, False], [True, True, False], [False, True, False]])
    shares = np.array([[0.9, 0.9, 0.9], [0.6, 0.6, 0.6], [0.2, 0.2, 0.2]])
    assert best_thresholds(shares, truth) == (0.4, 0.1, DEFAULT_THRESHOLD)
