import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from artifacts import Artifact, ArtifactError
from artifacts.drift_distances import LIMITS, distances, stability_index
from artifacts.reference import (
    REFERENCE_FILE,
    Moments,
    Reference,
    Sums,
    read_reference,
    reference_of,
    side_bins,
    write_reference,
)
from tests.graphs import tiny_artifact

RANDOM = np.random.default_rng(0)


def pictures(
    count: int, *, side: int = 32, shift: float = 0.0
) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """Sizes, confidences and features, such as a model could give."""
    sizes = [(side, side + int(extra)) for extra in RANDOM.integers(0, 4, count)]
    confidences = RANDOM.beta(5 - 4 * shift, 1 + 4 * shift, count)
    scales = np.linspace(0.1, 3, 12)
    return sizes, confidences, RANDOM.normal(1 + shift, scales, (count, 12))


def moments_of(reference: Reference, *parts: tuple[list, np.ndarray, np.ndarray]) -> Moments:
    sums = Sums(reference)
    return sums.moments(np.sum([sums.of(*part) for part in parts], axis=0))


def test_sums_add_up_to_the_moments_of_all() -> None:
    reference = reference_of(*pictures(500), "some")
    parts = [pictures(count, shift=0.2) for count in (1, 64, 200)]
    moments = moments_of(reference, *parts)
    features = np.concatenate([part[2] for part in parts])
    assert moments.pictures == sum(moments.sides) == sum(moments.confidences) == 265
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, features.var(axis=0), rtol=1e-10)
    edges = np.array([-1.0, *reference.edges, 2.0])
    confidences = np.concatenate([part[1] for part in parts])
    inside = [((lo < confidences) & (confidences <= hi)).sum() for lo, hi in pairwise(edges)]
    assert list(moments.confidences) == inside


def test_distances_are_those_of_their_definitions() -> None:
    reference = reference_of(*pictures(800), "some")
    now = moments_of(reference, pictures(400, shift=0.3, side=64))
    found = {each.quantity: each for each in distances(reference, now)}
    p, q = (np.array(m.confidences) / m.pictures for m in (reference.moments, now))
    expected = sum((a - b) * np.log(a / b) for a, b in zip(p, q, strict=True))
    assert found["confidences"].value == pytest.approx(expected)
    a, b = (np.diag(m.variance) for m in (reference.moments, now))
    apart = np.array(reference.moments.mean) - np.array(now.mean)
    frechet = apart @ apart + np.trace(a + b - 2 * np.sqrt(a @ b))
    assert found["features"].value == pytest.approx(frechet / np.trace(a))
    assert found["sides"].drifted
    assert found["confidences"].drifted


def test_the_same_pictures_do_not_drift_and_chance_is_foreseen() -> None:
    reference = reference_of(*pictures(2000), "some")
    tried = [distances(reference, moments_of(reference, pictures(300))) for _ in range(40)]
    for each in zip(*tried, strict=True):
        assert not any(distance.drifted for distance in each)
        mean = np.mean([distance.value for distance in each])
        assert mean < 3 * each[0].by_chance or each[0].quantity == "sides"
    assert {each.quantity for each in tried[0]} == set(LIMITS)


def test_sides_are_binned_by_area() -> None:
    sizes = [(1, 1), (8, 8), (16, 4), (32, 32), (31, 33), (64, 64), (4096, 4096), (9000, 9000)]
    assert side_bins(sizes) == [0, 0, 0, 4, 4, 6, 18, 18]
    assert stability_index((0, 10), (0, 20)) == 0
    assert stability_index((10, 0), (0, 10)) > 18


def test_what_a_graph_does_not_give_is_left_out(tmp_path: Path) -> None:
    sizes, _, _ = pictures(300)
    reference = reference_of(sizes, None, None, "sizes alone")
    sums = Sums(reference)
    found = distances(reference, sums.moments(sums.of(sizes, None, None)))
    assert [(each.quantity, each.value) for each in found] == [("sides", 0.0)]
    assert read_reference(tiny_artifact(tmp_path)) is None


def test_a_reference_is_read_back_and_a_malformed_one_refused(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path)
    reference = reference_of(*pictures(300), "some")
    model = artifact.model_path.read_bytes()

    def saved(content: bytes) -> Artifact:
        files = {"model.onnx": model, REFERENCE_FILE: content}
        return Artifact.save(artifact.manifest, files, tmp_path)

    assert read_reference(saved(write_reference(reference))) == reference
    fields = json.loads(write_reference(reference))
    fields["moments"]["pictures"] = 7
    with pytest.raises(ArtifactError, match=r"one bin of each histogram; measure it again"):
        read_reference(saved(json.dumps(fields).encode()))
