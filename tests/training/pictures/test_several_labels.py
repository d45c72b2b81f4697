"""Own pictures that have several labels or none: the head, and the real command."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from artifacts import Artifact, Runtime
from artifacts.datasets import load
from tests.training.pictures.test_command import MODEL, NAME, command, finish
from training.evaluate import fit_temperature
from training.pictures.head import Features, cross_validated, fit_head, loss_and_score, solve

COUNT = 160


def test_the_head_is_a_logistic_regression_for_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 5, generator=generator)
    noise = torch.randn(120, 3, generator=generator)
    labels = (inputs @ torch.randn(5, 3, generator=generator) + noise > 0).long()
    weight, bias, _ = solve(inputs, labels, 3, 0.01)
    mean, scale = inputs.mean(0), inputs.std(0, correction=0).mean()
    actual = (inputs @ weight.T + bias).numpy()
    for c in range(3):
        # scikit-learn minimises the sum of losses + |w|²/2C
        judge = LogisticRegression(C=1 / (2 * 0.01 * len(labels)), tol=1e-8, max_iter=10_000)
        judge.fit(((inputs - mean) / scale).numpy(), labels[:, c].numpy())
        expected = judge.decision_function(((inputs - mean) / scale).numpy())
        np.testing.assert_allclose(actual[:, c], expected, atol=0.02)
    loss, score = loss_and_score(torch.from_numpy(actual), labels)
    assert score == pytest.approx(average_precision_score(labels, actual, average="macro"))
    assert loss == pytest.approx(
        float(torch.nn.BCEWithLogitsLoss()(torch.from_numpy(actual), labels.float()))
    )
    features = Features(inputs, inputs, inputs, labels, labels)
    head = fit_head(features, 3, flip=True)
    assert head.validation_accuracy > 0.8
    assert cross_validated(features, 3, 0.01, 0).shape == (120, 3)


def test_a_temperature_of_few_certain_answers_is_not_certain() -> None:
    labels = np.eye(2, dtype=np.int64).repeat(10, axis=0)
    logits = (20 * labels - 10).astype(np.float32)
    assert fit_temperature(logits, labels) < 1
    assert fit_temperature(logits, labels, smoothed=True) > 2


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of pictures of shapes, and the weights of a small network beside it."""
    root = tmp_path_factory.mktemp("several")
    shapes = load("synthetic/shapes", "train").head(COUNT)
    lines = ["path,label"]
    for number, (picture, row) in enumerate(zip(shapes.images, shapes.labels, strict=True)):
        Image.fromarray(picture).save(root / f"{number:03}.png")
        names = "|".join(shapes.classes[c] for c in np.flatnonzero(row))
        lines.append(f"{number:03}.png,{names}")
    path = root / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    network = timm.create_model(MODEL, num_classes=0)
    save_file(network.state_dict(), root / "weights.safetensors")
    return path


def test_a_table_with_several_labels_becomes_a_multi_label_model(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = finish(tmp_path, *command(table))
    assert status == 0, err
    monkeypatch.chdir(tmp_path)
    artifact = Artifact.open(NAME, tmp_path / "models")
    manifest = artifact.manifest
    assert manifest.task == "multi-label"
    assert manifest.classes == ("cross", "disc", "ring", "square")
    test = load(f"table/runs/{NAME}/pictures.csv", "test")
    assert test.multi_label
    logits = Runtime.open(artifact).run(list(test.images), ["logits"])["logits"]
    shares = 1 / (1 + np.exp(-logits.astype(np.float64) / manifest.temperature))
    expected = average_precision_score(test.labels, shares, average="macro")
    assert manifest.metric("map", "test") == pytest.approx(expected, abs=1e-5)
    plan = json.loads((tmp_path / "runs" / NAME / "plan.json").read_text())
    exact = ((shares >= np.array(manifest.thresholds)) == test.labels).all(axis=1)
    assert (plan["tested"]["right"], plan["tested"]["total"]) == (exact.sum(), len(test))
    assert f"All labels right on the {len(test)} test pictures: {exact.mean():.1%}" in out
    assert f"mean average precision {plan['tested']['balanced']:.1%}" in out
    assert "mean average precision" in err
    page = (tmp_path / "runs" / NAME / "report" / "index.html").read_text()
    assert "all labels right" in page
    status, again, err = finish(tmp_path, *command(table))
    assert status == 0, err
    assert again.startswith("All labels right")
    assert out.endswith(again), "what was measured is told again, without training"
