"""Detectors of known pictures: fitted on clouds of points whose answer is known."""

import io
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binomtest

from artifacts import ArtifactError, DataError
from artifacts.intervals import interval
from artifacts.known.detector import SUMMARY, Detector, maximum_and_energy, summary
from artifacts.known.fitting import LEAST, Material, Seen, fit
from artifacts.known.record import KEEP
from artifacts.known.regression import area, logistic, space_of, total_whitening

CLASSES, FEATURES = 4, 12
Floats = npt.NDArray[np.float32]


def cloud(name: str, count: int, seed: int, away: float = 0.0) -> tuple[Seen, np.ndarray]:
    """Points around the means of the classes, or `away` from all of them in one direction."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    means = np.eye(CLASSES, FEATURES) * 6
    rows = means[labels] + random.normal(0, 1, (count, FEATURES))
    rows[:, -1] += away
    logits = rows @ means.T / 3
    return Seen(name, rows.astype(np.float32), logits.astype(np.float32)), labels


def material() -> Material:
    train, labels = cloud("train", 800, 0)
    return Material(
        train=train,
        labels=labels,
        validation=cloud("validation", 600, 1)[0],
        copies=[cloud("copies", 200, 2)[0]],
        declared=[cloud("far", 200, 3, 8)[0], cloud("behind", 200, 4, -8)[0]],
        unseen=[cloud("farther", 100, 5, 12)[0]],
        known=[cloud("test", 1000, 6)[0]],
    )


def test_known_pictures_are_kept_and_others_refused() -> None:
    record, detector = fit(material())
    assert record.offered
    assert record.areas[record.method] == max(record.areas.values()) > 0.99
    assert {rate.data: rate.declared for rate in record.refused} == {
        "far": True,
        "behind": True,
        "farther": False,
    }
    assert all(rate.share > 0.99 for rate in record.refused)
    kept = record.kept[0]
    assert (kept.data, kept.pictures) == ("test", 1000)
    assert kept.share == pytest.approx(KEEP, abs=0.03)
    test = material().known[0]
    for keep in (0.5, 0.8, 0.99):
        share = (detector.scores(test.features, test.logits) >= 1 - keep).mean()
        assert share == pytest.approx(keep, abs=0.1)  # 300 pictures chose the threshold
        assert 1 - detector.share_below(detector.kept, keep) == pytest.approx(share, abs=0.01)


def test_outliers_like_the_known_pictures_are_not_pretended_to_be_told() -> None:
    same = replace(material(), declared=[cloud("same", 200, 9)[0]], unseen=[cloud("s", 90, 8)[0]])
    assert not fit(same)[0].offered


def test_a_detector_survives_its_file_within_half_precision() -> None:
    _, detector = fit(material())
    read = Detector.read(detector.write())
    test = material().known[0]
    one, other = (each.scores(test.features, test.logits) for each in (detector, read))
    np.testing.assert_allclose(one, other, atol=2e-3)
    assert read.method == detector.method


@pytest.mark.parametrize("content", [b"", b"not a file", b"PK\x03\x04broken"])
def test_a_damaged_file_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"known\.npz cannot be read"):
        Detector.read(content)


def test_a_file_with_pickled_objects_is_refused() -> None:
    file = io.BytesIO()
    np.savez(file, method=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="cannot be read"):
        Detector.read(file.getvalue())


def test_a_detector_of_another_graph_is_refused() -> None:
    _, detector = fit(material())
    features, logits = np.zeros((1, FEATURES + 1), np.float32), np.zeros((1, CLASSES), np.float32)
    with pytest.raises(ArtifactError, match="of another graph"):
        detector.check_fits(features, logits)


def test_the_fast_score_is_the_weighted_summary() -> None:
    _, detector = fit(material())
    weights = np.random.default_rng(0).normal(0, 1, len(SUMMARY) + FEATURES + 1)
    combined = replace(detector, method="combined", weights=weights.astype(np.float32))
    test = material().known[0]
    expected = summary(combined.space, test.features, test.logits) @ combined.weights
    np.testing.assert_allclose(combined.raw(test.features, test.logits), expected, atol=1e-3)


def test_too_few_pictures_and_no_outliers_are_refused() -> None:
    few = material().validation.take(slice(0, LEAST - 1))
    with pytest.raises(DataError, match="too few"):
        fit(replace(material(), validation=few))
    with pytest.raises(DataError, match="no outliers"):
        fit(replace(material(), declared=[]))


def test_the_space_is_whitened_within_classes() -> None:
    train, labels = cloud("train", 4000, 0)
    space = space_of(train.features, labels)
    z = space.z(train.features)
    within = z - space.means[labels]
    np.testing.assert_allclose(within.T @ within / len(z), np.eye(z.shape[1]), atol=0.02)
    whole = z @ total_whitening(z)
    np.testing.assert_allclose(whole.T @ whole / len(z), np.eye(z.shape[1]), atol=0.02)


def test_distances_are_those_of_a_plain_computation() -> None:
    train, labels = cloud("train", 400, 0)
    space = space_of(train.features, labels)
    z = space.z(train.features[:20])
    nearest, cosines, lengths = space.class_distances(z)
    apart = ((z[:, None] - space.means) ** 2).sum(axis=2)
    np.testing.assert_allclose(nearest, apart.min(axis=1), rtol=1e-3, atol=1e-2)
    norms = np.linalg.norm(z, axis=1)
    unit = space.means / np.linalg.norm(space.means, axis=1, keepdims=True)
    np.testing.assert_allclose(lengths, norms, rtol=1e-4)
    np.testing.assert_allclose(cosines, (z / norms[:, None] @ unit.T).max(axis=1), rtol=1e-4)


def test_probability_and_energy_do_not_overflow() -> None:
    largest, energy = maximum_and_energy(np.array([[1000.0, 0.0], [2.0, 2.0]]))
    np.testing.assert_allclose(largest, [0.0, -np.log(2)])
    np.testing.assert_allclose(energy, [1000.0, 2 + np.log(2)])


def test_logistic_regression_finds_the_direction_and_weighs_groups() -> None:
    random = np.random.default_rng(0)
    ones = np.ones((400, 1))
    known = np.hstack([random.normal(1, 1, (400, 1)), random.normal(0, 1, (400, 1)), ones])
    other = np.hstack([random.normal(-1, 1, (400, 1)), random.normal(0, 1, (400, 1)), ones])
    groups = [(known.astype(np.float32), True, 1.0), (other.astype(np.float32), False, 1.0)]
    weights = logistic(groups, penalty=1e-6)
    np.testing.assert_allclose(weights, [2, 0, 0], atol=0.4)  # the mean difference / variance
    shifted = (other + np.array([3, 0, 0])).astype(np.float32)
    light = logistic([*groups, (shifted, False, 0.1)])
    heavy = logistic([*groups, (shifted, False, 8.0)])
    assert heavy[0] < light[0]


def test_areas() -> None:
    assert area(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area(np.array([1.0]), np.array([1.0])) == 0.5
    assert area(np.array([0.0, 2.0]), np.array([1.0])) == 0.5


def test_the_interval_is_wilsons() -> None:
    for count, total in ((0, 10), (7, 10), (950, 1000)):
        expected = binomtest(count, total).proportion_ci(method="wilson")
        assert interval(count, total) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert interval(0, 0) == (0, 1)
