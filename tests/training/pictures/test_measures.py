"""Figures of own pictures agree with independent computations."""

import math
from pathlib import Path

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score
from torch import from_numpy
from torchmetrics.functional.classification import multiclass_calibration_error

from artifacts import Artifact, Runtime
from artifacts.datasets import load
from artifacts.multi_label import mean_average_precision as artifact_mean
from training.evaluate import run_logits
from training.pictures import measures
from training.pictures.measures import Share
from training.pictures.results import Results, Rows
from training.pictures.suspects import find_suspects, suspicious


def made(rows: Rows, classes: int, **others: object) -> Results:
    fields: dict[str, object] = {
        "name": "mine",
        "command": "vitrine train mine",
        "seed": 0,
        "hardware": "two cores",
        "seconds": 1.0,
        "classes": tuple(f"class {i}" for i in range(classes)),
        "root": Path("/pictures"),
        "training_counts": (5,) * classes,
        "test": rows,
        "validation": Rows((), rows.labels[:0], rows.probabilities[:0], rows.sizes[:0]),
    }
    return Results(**{**fields, **others})  # type: ignore[arg-type]


def answers(number: int, classes: int, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.3), number)
    labels = np.array([generator.choice(classes, p=p) for p in probabilities])
    sizes = generator.integers(20, 400, (number, 2))
    return Rows(tuple(Path(f"{i}.jpg") for i in range(number)), labels, probabilities, sizes)


def several(number: int, classes: int) -> Results:
    generator = np.random.default_rng(1)
    probabilities = generator.random((number, classes))
    labels = (generator.random((number, classes)) < probabilities**2).astype(np.int64)
    paths = tuple(Path(f"{i}.jpg") for i in range(number))
    rows = Rows(paths, labels, probabilities, np.full((number, 2), 64))
    return made(rows, classes, thresholds=tuple(np.linspace(0.3, 0.7, classes)))


def test_the_interval_is_wilsons() -> None:
    for count, total in ((0, 10), (9, 10), (10, 10), (812, 1000)):
        found = Share(count, total).interval
        expected = binomtest(count, total).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-6)
    assert math.isnan(Share(0, 0).interval.value)


def test_figures_of_single_labels_agree_with_sklearn_and_torchmetrics() -> None:
    rows = answers(400, 5)
    results = made(rows, 5)
    predicted = rows.probabilities.argmax(1)
    assert measures.accuracy(results, rows).value == (predicted == rows.labels).mean()
    balanced = measures.balanced_accuracy(results, rows)
    assert balanced.value == pytest.approx(balanced_accuracy_score(rows.labels, predicted))
    assert balanced.low < balanced.value < balanced.high
    f1 = f1_score(rows.labels, predicted, average=None)
    found = measures.class_figures(results, rows)
    assert [each.f1 for each in found] == pytest.approx(list(f1))
    counts = measures.confusions(results, rows)
    assert counts[2, 3] == ((rows.labels == 2) & (predicted == 3)).sum()
    reliability = measures.reliability(results, rows)
    expected = multiclass_calibration_error(
        from_numpy(rows.probabilities), from_numpy(rows.labels), num_classes=5, n_bins=15
    )
    assert reliability.ece == pytest.approx(float(expected), abs=1e-6)
    assert sum(reliability.counts) == 400


def test_figures_of_several_labels_agree_with_sklearn() -> None:
    results = several(300, 4)
    rows = results.test
    found = measures.class_figures(results, rows)
    chosen = rows.probabilities >= np.array(results.thresholds)
    assert [each.f1 for each in found] == pytest.approx(
        list(f1_score(rows.labels, chosen, average=None))
    )
    expected = average_precision_score(rows.labels, rows.probabilities, average=None)
    assert [each.average_precision for each in found] == pytest.approx(list(expected))
    mean = measures.mean_average_precision(results, rows)
    assert mean.value == pytest.approx(expected.mean())
    assert mean.low < mean.value < mean.high
    assert measures.accuracy(results, rows).count == (chosen == rows.labels).all(1).sum()


def test_pictures_with_equal_probabilities_share_a_rank() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (60, 3))
    rows = Rows(
        tuple(Path(f"{i}.png") for i in range(60)),
        labels,
        generator.random((60, 3)).round(1),
        np.full((60, 2), 32),
    )
    results = made(rows, 3, thresholds=(0.5,) * 3)
    mean = measures.mean_average_precision(results, rows).value
    assert mean == pytest.approx(artifact_mean(rows.probabilities, labels > 0))
    assert mean == pytest.approx(average_precision_score(labels, rows.probabilities))


def test_a_class_that_occurs_nowhere_has_no_figures() -> None:
    rows = answers(50, 3)
    rows = Rows(rows.paths, rows.labels % 2, rows.probabilities, rows.sizes)
    results = made(rows, 3)
    last = measures.class_figures(results, rows)[2]
    assert (last.recall.total, math.isnan(last.recall.value)) == (0, True)
    assert not math.isnan(measures.balanced_accuracy(results, rows).value)


def test_pictures_are_divided_by_size() -> None:
    rows = answers(403, 3)
    bins = measures.by_size(made(rows, 3), rows)
    assert sum(share.total for _, _, share in bins) == 403
    assert all(95 <= share.total <= 106 for _, _, share in bins)
    edges = [edge for smallest, largest, _ in bins for edge in (smallest, largest)]
    assert edges == sorted(edges)
    same = Rows(rows.paths, rows.labels, rows.probabilities, np.full((403, 2), 32))
    assert [(low, high) for low, high, _ in measures.by_size(made(same, 3), same)] == [(32, 32)]


@pytest.mark.parametrize("seed", range(3))
def test_suspects_are_those_of_cleanlab(seed: int) -> None:
    rows = answers(500, 6, seed)
    ranked, proposed = suspicious(rows.labels, rows.probabilities)
    expected = find_label_issues(
        rows.labels,
        rows.probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert len(ranked) > 20
    assert ranked.tolist() == list(expected)
    assert (proposed != rows.labels[ranked]).all()


@pytest.mark.data("cifar-10-batches-py")
def test_changed_labels_of_real_pictures_are_found() -> None:
    """The page quotes such trials, on more pictures, in its section on labels to check."""
    artifact = Artifact.open("cifar10-fast")
    data = load("cifar10", "test")
    chosen = np.random.default_rng(0).permutation(len(data))[:1000]
    runtime = Runtime(artifact.read_graph(), artifact.manifest.input)
    logits = run_logits(runtime, [data.images[i] for i in chosen]) / artifact.manifest.temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    generator = np.random.default_rng(0)
    flipped = generator.permutation(1000)[:50]
    labels = data.labels[chosen].copy()
    labels[flipped] = (labels[flipped] + generator.integers(1, 10, 50)) % 10
    rows = Rows(
        tuple(Path(f"{i}.jpg") for i in range(1000)),
        labels,
        odds / odds.sum(axis=1, keepdims=True),
        np.full((1000, 2), 32),
    )
    found = [int(s.path.stem) for s in find_suspects(made(rows, 10))]
    changed = set(flipped.tolist())
    precision = len(changed & set(found)) / len(found)
    recall = len(changed & set(found)) / len(changed)
    assert precision > 0.6
    assert recall > 0.75
    assert len(changed & set(found[:24])) >= 21


def test_wrong_labels_are_searched_in_every_split_and_class() -> None:
    results = several(300, 4)
    suspects = find_suspects(made(results.test, 4, training=results.test, thresholds=(0.5,) * 4))
    assert {suspect.split for suspect in suspects} == {"test", "training"}
    assert {suspect.label for suspect in suspects} > {"class 0", "not class 0"}
    ranks = [suspect.label_probability for suspect in suspects]
    assert ranks == sorted(ranks)
