"""Multi-label models: temperature, figures, and a whole training run on generated shapes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score
from torchmetrics.classification import MultilabelAveragePrecision

from artifacts import Artifact, DataError, Runtime, probabilities
from artifacts.datasets import load
from artifacts.multi_label import best_thresholds
from artifacts.reference import read_reference
from training.checkpoint import restore_sums, sums_of
from training.commands.artifacts import headline
from training.drift_reference import add_reference, held_out
from training.evaluate import fit_temperature
from training.history import read_history
from training.multi_label import check_labels, score_labels
from training.recipe import Recipe, RecipeError, load_recipe
from training.run import run

RECIPE = """
title: Shapes in a picture
route: shapes
data: {name: synthetic/shapes, validation: 500, mean: [0.3, 0.3, 0.3], std: [0.3, 0.3, 0.3]}
network: {name: ladder, options: {rung: GAP}}
loss: {name: bce}
epochs: 4
batch_size: 32
optimizer: {name: adam, lr: 3.0e-3, schedule: cosine, warmup: 0.1}
native_side: [32, 32]
evaluation: {sizes: [48x48]}
"""


def drawn(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, and labels from sigmoid(logits / temperature)."""
    random = np.random.default_rng(0)
    logits = random.normal(-1, 3, (20_000, 5)).astype(np.float32)
    chances = probabilities(logits, temperature, "multi-label")
    return logits, (random.random(chances.shape) < chances).astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_scores_against_scikit_learn() -> None:
    logits, labels = drawn(2.0)
    logits, labels = logits[:300], labels[:300]
    names = tuple("abcde")
    labels[:, 4] = 0  # no picture has this class
    thresholds = (0.3, 0.4, 0.5, 1.0, 0.7)  # the fourth one is never reached
    found = {
        m.name: m for m in score_labels(logits, labels, 1.0, thresholds, "test", classes=names)
    }
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    present, known = p >= thresholds, [0, 1, 2, 3]
    average = average_precision_score(labels[:, known], p[:, known], average="macro")
    assert found["map"].value == pytest.approx(average, abs=1e-6)
    macro = f1_score(labels[:, known], present[:, known], average="macro", zero_division=0.0)
    assert found["f1-macro"].value == pytest.approx(macro, abs=1e-6)
    micro = f1_score(labels, present, average="micro", zero_division=0.0)
    assert found["f1-micro"].value == pytest.approx(micro, abs=1e-6)
    loss = -np.where(labels == 1, np.log(p), np.log1p(-p)).mean()
    assert found["loss"].value == pytest.approx(loss, abs=1e-6)
    bins = np.clip((p * 15).astype(int), 0, 14)
    error = sum(
        abs(p[bins == b].mean() - labels[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    assert found["ece"].value == pytest.approx(error, abs=1e-4)
    assert all(found[name].samples == 300 for name in ("map", "f1-macro", "f1-micro", "loss"))
    for c in range(3):
        precision, recall = found[f"precision/{names[c]}"], found[f"recall/{names[c]}"]
        expected = precision_score(labels[:, c], present[:, c])
        assert precision.value == pytest.approx(expected, abs=1e-6)
        expected = recall_score(labels[:, c], present[:, c])
        assert recall.value == pytest.approx(expected, abs=1e-6)
        assert precision.samples == present[:, c].sum()
        assert recall.samples == labels[:, c].sum()
    assert "precision/d" not in found
    assert "recall/e" not in found


def test_a_checkpoint_holds_what_the_mean_average_precision_has_seen() -> None:
    logits, labels = (torch.from_numpy(rows[:90]) for rows in drawn(1.0))
    whole, first, second = (MultilabelAveragePrecision(5) for _ in range(3))
    for metric, rows in ((whole, slice(None)), (first, slice(60)), (second, slice(10))):
        metric.update(logits[rows].sigmoid(), labels[rows])
    restore_sums((second,), sums_of((first,)))
    second.update(logits[60:].sigmoid(), labels[60:])
    assert float(second.compute()) == pytest.approx(float(whole.compute()))
    assert float(first.compute()) != float(whole.compute())


def recipe_of(folder: Path, **changes: object) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / "shapes.yaml").write_text(RECIPE)
    return load_recipe("shapes", folder=folder, changes=changes)


def test_settings_that_need_one_label_are_refused(tmp_path: Path) -> None:
    for changes in (
        {"svm": {"kernels": ["linear"]}},
        {"data.validation_choice": "classes"},
        {"data.validation_choice": "first-of-class"},
        {"loss.per_class": 2},
        {"route": "faces"},
    ):
        with pytest.raises(RecipeError, match=r"bce|embedding"):
            recipe_of(tmp_path, **changes)


def test_data_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    shapes, objects = load("synthetic/shapes", "train"), load("synthetic/objects", "train")
    check_labels(shapes, recipe_of(tmp_path))
    with pytest.raises(DataError, match="exactly one label"):
        check_labels(objects, recipe_of(tmp_path))
    one = recipe_of(tmp_path, **{"loss.name": "cross-entropy"})
    check_labels(objects, one)
    with pytest.raises(DataError, match=r"set loss\.name to bce"):
        check_labels(shapes, one)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    """A model of `RECIPE`."""
    folder = tmp_path_factory.mktemp("shapes")
    recipe = recipe_of(folder / "recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        artifact = run(recipe)
        assert artifact is not None
        yield artifact


def logits_and_labels(artifact: Artifact, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = load("synthetic/shapes", split)
    logits = Runtime.open(artifact).run(list(data.images), ["logits"])["logits"]
    return logits.astype(np.float64), data.labels


def test_a_trained_model_finds_the_shapes(trained: Artifact) -> None:
    manifest = trained.manifest
    assert (manifest.task, manifest.route) == ("multi-label", "shapes")
    assert manifest.classes == ("cross", "disc", "ring", "square")
    assert manifest.synthetic
    precision = manifest.metric("map", "test")
    assert precision is not None
    _, labels = logits_and_labels(trained, "test")
    assert precision > 0.9 > labels.mean() + 0.3  # chance is the share of the class


def test_the_figures_are_those_of_the_graph(trained: Artifact) -> None:
    manifest = trained.manifest
    logits, labels = logits_and_labels(trained, "test")
    p = 1 / (1 + np.exp(-logits / manifest.temperature))
    expected = average_precision_score(labels, p, average="macro")
    assert manifest.metric("map", "test") == pytest.approx(expected, abs=1e-5)
    present = p >= np.array(manifest.thresholds)
    for kind in ("macro", "micro"):
        expected = f1_score(labels, present, average=kind)
        assert manifest.metric(f"f1-{kind}", "test") == pytest.approx(expected, abs=1e-5)
    tested = {m.name: m for m in manifest.metrics if m.split == "test" and m.size is None}
    assert {m.samples for n, m in tested.items() if "/" not in n} == {500}
    assert [tested[f"recall/{c}"].samples for c in manifest.classes] == labels.sum(0).tolist()
    assert any(m.size == "48x48" and m.name == "map" for m in manifest.metrics)


def test_thresholds_and_temperature_are_fitted_on_validation_pictures(trained: Artifact) -> None:
    manifest = trained.manifest
    images, _ = held_out(manifest, trained.path)
    train = load("synthetic/shapes", "train")
    known = {
        picture.tobytes(): row for picture, row in zip(train.images, train.labels, strict=True)
    }
    truth = np.stack([known[picture.tobytes()] for picture in images])
    logits = Runtime.open(trained).run(list(images), ["logits"])["logits"]
    temperature = fit_temperature(logits, truth)
    assert manifest.temperature == pytest.approx(temperature, rel=1e-4)
    shares = probabilities(logits, temperature, "multi-label")
    assert manifest.thresholds == pytest.approx(best_thresholds(shares, truth > 0), abs=1e-4)


def test_the_reference_is_of_the_most_probable_class(trained: Artifact) -> None:
    reference = read_reference(trained)
    assert reference is not None
    images, data = held_out(trained.manifest, trained.path)
    logits = Runtime.open(trained).run(list(images), ["logits"])["logits"].astype(np.float64)
    most = (1 / (1 + np.exp(-logits / trained.manifest.temperature))).max(axis=1)
    counts = np.bincount(np.searchsorted(reference.edges, most), minlength=10)
    np.testing.assert_allclose(reference.moments.confidences, counts, atol=2)
    again = read_reference(add_reference(trained, images, data))
    assert again == reference


def test_the_card_and_the_history_say_what_they_show(trained: Artifact) -> None:
    card = (trained.path / "card.md").read_text()
    for name in trained.manifest.classes:
        assert f"| {name} | " in card
    rows = read_history(trained)
    assert len(rows) == 4
    measured = trained.manifest.metric("map", "validation")
    assert float(rows[-1]["validation_accuracy"]) == pytest.approx(measured, abs=1e-3)
    assert headline(trained.manifest).startswith("test mAP 0.9")
    assert headline(trained.manifest).endswith(" on 500 pictures")
