"""The distance of a face from a person of whom there are several pictures."""

import numpy as np
import pytest

from serving.faces.person_distance import person_distance

QUERY = np.array([0.0, 0.0], np.float32)
PICTURES = np.array([[0.3, 0.0], [0.3, 0.4], [9.0, 9.0]], np.float32)


def test_one_picture_has_its_own_distance() -> None:
    assert person_distance(QUERY, PICTURES[:1], "euclidean", 1.0) == pytest.approx(0.3)


def test_the_pictures_that_match_the_nearest_count() -> None:
    centroid, mean = np.hypot(0.3, 0.2), (0.3 + 0.5) / 2
    found = person_distance(QUERY, PICTURES, "euclidean", 0.41)
    assert found == pytest.approx((centroid + mean) / 2), "the third is of somebody else"
    assert person_distance(QUERY, PICTURES, "euclidean", 0.3) == pytest.approx(0.3)


def test_a_picture_that_is_alike_by_cosine_has_no_say_in_length() -> None:
    query = np.array([1.0, 0.0], np.float32)
    pictures = np.array([[1.0, 1.0], [50.0, -50.0]], np.float32)
    found = person_distance(query, pictures, "cosine", 1.0)
    assert found == pytest.approx((0 + 1 - np.sqrt(0.5)) / 2, abs=1e-6)
    opposite = np.array([[0.0, 1.0], [0.0, -1.0]], np.float32)
    assert person_distance(query, opposite, "cosine", 2.0) == pytest.approx(1.0)


def test_more_noisy_pictures_bring_a_person_nearer_and_strangers_not() -> None:
    random = np.random.default_rng(0)

    def around(middle: np.ndarray, count: int) -> np.ndarray:
        return (middle + random.normal(0, 0.05, (count, 64))).astype(np.float32)

    person, stranger = random.normal(0, 0.1, (2, 64))
    known, other = around(person, 200), around(stranger, 200)
    one, five = (
        [person_distance(query, around(person, count), "euclidean", 9.0) for query in known]
        for count in (1, 5)
    )
    far = [person_distance(query, around(person, 5), "euclidean", 9.0) for query in other]
    nearest = [np.linalg.norm(around(person, 5) - query, axis=1).min() for query in other]
    assert np.mean(five) < 0.95 * np.mean(one)
    assert np.mean(far) > np.mean(nearest)
