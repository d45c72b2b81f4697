"""The head on features, solved exactly."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from training.evaluate import fit_temperature
from training.pictures.head import (
    Features,
    cross_validated,
    fit_head,
    solve,
    told_from_mirrored,
)

CLASSES, WIDTH = 3, 6


def points(count: int, seed: int, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features around one centre per class, and their labels."""
    centres = 2 * torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    return centres[labels] + noise * torch.randn(count, WIDTH, generator=generator), labels


def features(noise: float = 1.0) -> Features:
    train, labels = points(90, 0, noise)
    validation, held = points(60, 1, noise)
    return Features(train, train.flip(1), validation, labels, held)


def test_the_solution_is_that_of_logistic_regression() -> None:
    inputs, labels = points(90, 0)
    weight, bias, _ = solve(inputs, labels, CLASSES, 0.01)
    mean, scale = inputs.mean(0), inputs.std(0, correction=0).mean()
    # scikit-learn minimises the sum of losses + |w|²/2C
    judge = LogisticRegression(C=1 / (2 * 0.01 * len(labels)), tol=1e-8, max_iter=10_000)
    judge.fit(((inputs - mean) / scale).numpy(), labels.numpy())
    expected = judge.decision_function(((inputs - mean) / scale).numpy())
    actual = (inputs @ weight.T + bias).numpy()
    centred = actual - actual.mean(1, keepdims=True)
    np.testing.assert_allclose(centred, expected - expected.mean(1, keepdims=True), atol=0.02)


def test_the_strength_with_the_smallest_validation_loss_is_kept() -> None:
    found = features(noise=3.0)
    losses = {}
    for strength in (3e-2, 1e-3, 1e-5):
        head = fit_head(found, CLASSES, flip=False, strengths=(strength,))
        losses[strength] = head.validation_loss
    best = fit_head(found, CLASSES, flip=False, strengths=(3e-2, 1e-3, 1e-5))
    assert best.strength == min(losses, key=losses.__getitem__)
    assert best.validation_accuracy == pytest.approx(
        float((best.logits(found.validation).argmax(1) == found.validation_labels).double().mean())
    )


def test_only_pictures_with_a_handedness_are_told_from_their_mirror_images() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures, change = torch.randn(2, 200, WIDTH, generator=generator)
    labels = torch.zeros(200, dtype=torch.long)
    none = Features(pictures, pictures + change, pictures, labels, labels)
    assert told_from_mirrored(none, seed=0) == pytest.approx(0.5, abs=0.12)
    # mirroring moves most pictures in one direction
    some = Features(pictures, pictures + change + 2, pictures, labels, labels)
    assert told_from_mirrored(some, seed=0) > 0.9


def test_cross_validated_answers_do_not_know_the_label() -> None:
    train, _ = points(90, 0, noise=1.0)
    random = torch.randint(CLASSES, (90,), generator=torch.Generator().manual_seed(3))
    found = Features(train, train, train, random, random)
    logits = cross_validated(found, CLASSES, 1e-4, seed=0)
    assert logits.shape == (90, CLASSES)
    # a head fitted to the random labels would know more of them
    assert (logits.argmax(1) == random).double().mean() < 0.5


def test_few_right_answers_do_not_make_a_model_certain() -> None:
    logits = np.array([[5.0, 0.0, 0.0]] * 20, np.float32)
    labels = np.zeros(20, np.int64)
    certain, careful = (
        float(torch.softmax(torch.tensor(logits[0]) / temperature, 0)[0])
        for temperature in (
            fit_temperature(logits, labels),
            fit_temperature(logits, labels, smoothed=True),
        )
    )
    assert certain > 0.99999
    assert careful == pytest.approx(1 - 1 / 22, abs=1e-3)
    labels[0] = 1  # the error that was seen is estimate enough
    assert fit_temperature(logits, labels, smoothed=True) == fit_temperature(logits, labels)
