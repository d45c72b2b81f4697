import numpy as np
import pytest

from artifacts.verification.pairs import BINS, all_pairs, distances

VECTORS = np.array([[3, 4], [0, 0], [3, 0], [6, 8]], np.float32)


def test_every_pair_once() -> None:
    pairs = all_pairs(VECTORS, np.array([0, 1, 0, 7]), "test", "euclidean", missed=2)
    assert pairs.distances == pytest.approx([5, 4, 5, 3, 10, np.sqrt(73)])
    assert pairs.people.tolist() == [[0, 1], [0, 0], [0, 7], [1, 0], [1, 7], [0, 7]]
    assert pairs.same.tolist() == [False, True, False, False, False, False]
    assert (pairs.pairs.people, pairs.pairs.same, pairs.pairs.different) == (3, 1, 5)
    assert pairs.numbered[1].max() == 2


def test_every_pair_is_in_one_bin() -> None:
    found = all_pairs(VECTORS, np.array([0, 1, 0, 7]), "test", "euclidean").histogram
    assert found.width == pytest.approx(10 / BINS)
    assert (len(found.same), sum(found.same), sum(found.different)) == (BINS, 1, 5)
    assert found.same[int(4 / found.width)] == 1  # from (3, 4) to (3, 0)
    assert found.different[-1] == 1  # the greatest counts in the last


def test_cosine_is_of_the_angle() -> None:
    first, second = np.array([0, 0, 1]), np.array([3, 2, 0])
    assert distances(VECTORS, first, second, "cosine") == pytest.approx([0, 0.4, 1], abs=1e-7)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_few_pairs_of_many_rows_are_as_many(metric: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    first, second = np.triu_indices(300, 1)
    everything = distances(vectors, first, second, metric)
    few = distances(vectors, first[:50], second[:50], metric)
    assert few == pytest.approx(everything[:50], abs=1e-9)
