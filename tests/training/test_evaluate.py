import numpy as np
import pytest

from artifacts import probabilities
from training.evaluate import Resized, fit_temperature, score


def drawn(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, and labels from softmax(logits / temperature)."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20_000, 5)).astype(np.float32)
    chances = probabilities(logits, temperature).cumsum(1)
    return logits, (random.random((20_000, 1)) > chances).sum(1).clip(0, 4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_temperature_is_bounded_where_nothing_is_wrong() -> None:
    labels = np.arange(10)
    assert fit_temperature(np.eye(10, dtype=np.float32), labels) == pytest.approx(0.05)


def test_scores_against_numpy() -> None:
    logits, labels = drawn(2.0)
    found = {m.name: m.value for m in score(logits, labels, 1.0, "test")}
    p = probabilities(logits, 1.0)
    confidence, hit = p.max(1), p.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
    ece = sum(
        abs(hit[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    assert found["accuracy"] == pytest.approx(hit.mean(), abs=1e-6)
    assert found["loss"] == pytest.approx(-np.log(p[range(len(p)), labels]).mean(), abs=1e-5)
    assert found["ece"] == pytest.approx(ece, abs=1e-4)
    assert ece > 0.1  # temperature 1 would be far too confident here


def test_resized_sets_width_and_height_or_the_area() -> None:
    pictures = np.zeros((2, 32, 32, 3), np.uint8)
    assert [p.shape for p in Resized(pictures, "32x20")] == [(20, 32, 3)] * 2
    wide = [np.zeros((50, 200, 3), np.uint8)]
    assert Resized(wide, "200")[0].shape == (100, 400, 3)


def test_five_of_many_classes() -> None:
    # class 19 is the likeliest, then 18, ...
    logits = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    found = {m.name: m.value for m in score(logits, np.array([19, 15, 14, 0]), 1.0, "test")}
    assert (found["accuracy"], found["accuracy-top5"]) == (0.25, 0.5)
