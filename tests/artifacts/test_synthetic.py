import numpy as np
import pytest

from artifacts.datasets import load
from artifacts.datasets.synthetic import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_is_the_same_every_time_and_says_so(kind: str) -> None:
    first, second = (load(f"synthetic/{kind}", "test") for _ in range(2))
    np.testing.assert_array_equal(np.asarray(first.images), np.asarray(second.images))
    assert first.fingerprint == second.fingerprint
    assert first.synthetic
    spec = KINDS[kind]
    assert np.asarray(first.images).shape == (spec.test, spec.side, spec.side, 3)
    assert set(first.labels.tolist()) == set(range(len(first.classes)))


def test_people_never_cross_the_splits_of_synthetic() -> None:
    train, test = (load("synthetic/people", split) for split in ("train", "test"))
    assert set(train.classes).isdisjoint(test.classes)
    one, other = (np.asarray(people.images)[people.labels == 0].mean(0) for people in (train, test))
    assert np.abs(one - other).mean() > 10, "another face, not another name"


def test_synthetic_splits_differ() -> None:
    train, test = load("synthetic", "train"), load("synthetic", "test")
    assert train.fingerprint != test.fingerprint
    known = {picture.tobytes() for picture in train.images}
    assert not any(picture.tobytes() in known for picture in test.images)


# names


def test_a_picture_of_shapes_has_several_classes_or_none() -> None:
    train, again = (load("synthetic/shapes", "train") for _ in range(2))
    np.testing.assert_array_equal(np.asarray(train.images), np.asarray(again.images))
    assert train.multi_label
    assert train.synthetic
    assert train.labels.shape == (len(train), len(train.classes)) == (2000, 4)
    assert set(np.unique(train.labels)) == {0, 1}
    assert {0, 1, 2, 3} <= set(train.labels.sum(axis=1).tolist())
    few = train.take(np.array([5, 3]))
    np.testing.assert_array_equal(few.labels, train.labels[[5, 3]])
    assert not load("synthetic/objects", "test").multi_label
    test = load("synthetic/shapes", "test")
    assert train.fingerprint != test.fingerprint
    known = {picture.tobytes() for picture in train.images}
    assert not any(picture.tobytes() in known for picture in test.images)
