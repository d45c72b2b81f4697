import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import log_loss

from analysis.answers import FeatureVectors, Predictions, uncalibrated
from analysis.calibration import reliability
from analysis.compare import compare
from analysis.confusion import confused_pairs, count, rates, similarity_order
from analysis.corruptions import CORRUPTIONS, SEVERITIES, sizes_around
from analysis.distances import draw_pairs
from analysis.neighbours import contradicted, nearest
from artifacts import Artifact, DataError, InputPolicy, Runtime, datasets, probabilities
from artifacts.verification.curves import summary
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact

DATA = ("--dataset", "synthetic/objects:test", "--limit", 60)


@pytest.fixture(scope="session")
def objects_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that know the classes of the generated objects."""
    root = tmp_path_factory.mktemp("objects")
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(root, "one", classes=classes)
    tiny_artifact(root, "two", classes=classes[::-1])
    return root


@pytest.fixture
def look(run: Run, objects_root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, among the models of `objects_root`."""
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(objects_root))
    return run


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def findings(path: str) -> list[str]:
    found: list[str] = json.loads(Path(path).read_text())["findings"]
    return found


def truth(root: Path, limit: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, features and labels, straight from the graph."""
    part = datasets.load("synthetic/objects", "test").head(limit)
    artifact = Artifact.open("one", root)
    out = Runtime.open(artifact).run(list(part.images), ["logits", "features"])
    return probabilities(out["logits"], 2.0), out["features"], part.labels


def test_confusion_counts_what_the_graph_answers(look: Run, objects_root: Path) -> None:
    outcome = look("confusion", "--model", "one", *DATA, "--out", "out")
    assert outcome.status == 0, outcome.err
    scores, _, labels = truth(objects_root)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (labels, scores.argmax(axis=1)), 1)
    matrix = [list(map(int, list(row.values())[1:])) for row in read("out/matrix.csv")]
    assert (np.array(matrix) == expected).all()
    rows = read("out/confusion.csv")
    for i, row in enumerate(rows):
        recall = expected[i, i] / max(expected[i].sum(), 1)
        precision = expected[i, i] / max(expected[:, i].sum(), 1)
        assert float(row["recall"]) == pytest.approx(recall)
        assert float(row["precision"]) == pytest.approx(precision)
    assert findings("out/confusion.json")[0].startswith(
        f"accuracy {np.trace(expected) / 60:.4f}: {np.trace(expected)} of 60"
    )
    assert Path("out/pairs.png").exists()


def test_calibration_agrees_with_the_graph(look: Run, objects_root: Path) -> None:
    outcome = look("calibration", "--model", "one", *DATA, "--out", "out")
    assert outcome.status == 0, outcome.err
    scores, _, labels = truth(objects_root)
    loss = log_loss(labels, scores, labels=np.arange(10))
    before, after = findings("out/calibration.json")
    assert f"negative log likelihood {loss:.4f}" in after
    logits = 2.0 * np.log(scores)
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert f"negative log likelihood {log_loss(labels, plain, labels=np.arange(10)):.4f}" in before
    rows = [row for row in read("out/calibration.csv") if row["probabilities"].startswith("as")]
    assert sum(int(row["pictures"]) for row in rows) == 60


def test_neighbours_are_the_nearest_features(look: Run, objects_root: Path) -> None:
    arguments = ("neighbours", "--model", "one", *DATA, "--neighbours", 3, "--out", "out")
    outcome = look(*arguments)
    assert outcome.status == 0, outcome.err
    _, vectors, _ = truth(objects_root)
    lengths = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(lengths, np.inf)
    rows = read("out/neighbours.csv")
    found = np.array([float(row["distance"]) for row in rows]).reshape(60, 3)
    assert found == pytest.approx(np.sort(lengths, axis=1)[:, :3], abs=1e-4)
    assert all(row["picture"] != row["neighbour"] for row in rows)


def test_distances_rise_from_no_match_to_all(look: Run) -> None:
    outcome = look("distances", "--model", "one", *DATA, "--metric", "cosine", "--out", "out")
    assert outcome.status == 0, outcome.err
    rows = read("out/distances.csv")
    fmr, fnmr = ([float(row[key]) for row in rows] for key in ("fmr", "fnmr"))
    assert (fmr[0], fnmr[0]) == (0.0, 1.0)
    assert fmr == sorted(fmr)
    assert fnmr == sorted(fnmr, reverse=True)


def test_error_rates_are_those_of_all_pairs_by_numpy(look: Run, objects_root: Path) -> None:
    outcome = look("distances", "--model", "one", *DATA, "--out", "out")
    assert outcome.status == 0, outcome.err
    _, vectors, labels = truth(objects_root)
    lengths = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=2)
    a, b = np.triu_indices(60, 1)
    same, far = labels[a] == labels[b], lengths[a, b]
    for row in read("out/distances.csv"):
        threshold = float(
            row["threshold"]
        )  # it equals one of the distances, so that rounding decides whether it counts
        fmr, fnmr = (far[~same] < threshold).mean(), (far[same] >= threshold).mean()
        assert float(row["fmr"]) == pytest.approx(fmr, abs=1.5 / (~same).sum())
        assert float(row["fnmr"]) == pytest.approx(fnmr, abs=1.5 / same.sum())
    medians = findings("out/distances.json")[0]
    assert medians.startswith(f"median distance {np.median(far[same]):.4f} of {same.sum()} pairs")


def test_a_model_compared_with_another_whose_classes_are_turned_round(look: Run) -> None:
    outcome = look("compare", "--model", "one", "--model", "two", *DATA, "--out", "out")
    assert outcome.status == 0, outcome.err
    for row in read("out/compare.csv"):
        assert row["one"] != row["two"]
    first, second = findings("out/compare.json")[:2]
    assert "of 60 pictures" in first
    assert "McNemar" in second
    assert look("compare", "--model", "one", *DATA).status == 2


def test_sizes_go_around_what_the_model_is_shown() -> None:
    learned = sizes_around(InputPolicy(native_side=(24, 32)))
    assert learned[:4] == [(20, 20), (24, 24), (28, 28), (32, 32)]
    assert learned[-3:] == [(224, 224), (32, 20), (20, 32)]
    assert sizes_around(InputPolicy(fixed_size=(16, 16)))[-3:] == [(112, 112), (16, 10), (10, 16)]
    assert sizes_around(InputPolicy()) == learned
    large = sizes_around(InputPolicy(native_side=(1000, 1000)))
    assert max(max(size) for size in large) <= 4096


def test_compare_names_two_versions_of_a_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "models"
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(root, "one", classes=classes).path.rename(root / "one@1")
    tiny_artifact(root, "one", classes=classes[::-1])
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    outcome = run("compare", "--model", "one@1", "--model", "one", *DATA, "--out", "out")
    assert outcome.status == 0, outcome.err
    for row in read("out/compare.csv"):
        assert row["one@1"] != row["one"]
    assert "one@1" in findings("out/compare.json")[0]


def test_compare_counts_the_pictures_that_both_accept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "models"
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(root, "one", classes=classes, input={"accepted_side": (20, 4096)})
    tiny_artifact(root, "two", classes=classes, input={"accepted_side": (8, 40)})
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    folder = tmp_path / "in" / "cat"
    folder.mkdir(parents=True)
    for side in (12, 32, 48):
        Image.new("RGB", (side, side)).save(folder / f"{side}.png")
    command = ("compare", "--model", "one", "--model", "two", "--images", tmp_path / "in")
    outcome = run(*command, "--out", "out")
    assert outcome.status == 0, outcome.err
    assert "skipped cat/12.png" in outcome.err
    assert "skipped cat/48.png" in outcome.err
    assert "of 1 pictures" in findings("out/compare.json")[0]
    assert json.loads(Path("out/compare.json").read_text())["data"]["pictures"] == 1
    (folder / "32.png").unlink()
    outcome = run(*command)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].endswith("no picture is accepted by both models.")


def test_sizes_and_damages_are_measured_one_by_one(look: Run, objects_root: Path) -> None:
    sizes = ("sizes", "--model", "one", *DATA, "--sizes", "32x32,20x40", "--out", "out")
    assert look(*sizes).status == 0
    scores, _, labels = truth(objects_root)
    same, _ = read("out/sizes.csv")
    assert float(same["accuracy"]) == pytest.approx((scores.argmax(axis=1) == labels).mean())
    assert float(same["confidence"]) == pytest.approx(scores.max(axis=1).mean(), abs=1e-6)
    assert look("robustness", "--model", "one", *DATA, "--out", "out").status == 0
    rows = read("out/robustness.csv")
    assert [row["change"] for row in rows] == [
        "none",
        *(kind for kind in CORRUPTIONS for _ in SEVERITIES),
    ]
    assert float(rows[0]["accuracy"]) == pytest.approx(float(same["accuracy"]))
    for sizes_ in ("big", "", "20x20x20", "0x20", "20x-1"):
        refused = look("sizes", "--model", "one", *DATA, "--sizes", sizes_)
        assert (refused.status, "expected WIDTHxHEIGHT" in refused.err) == (2, True)


def test_damage_grows_with_severity_and_keeps_the_shape() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    picture = np.asarray(Image.fromarray(noisy).resize((60, 48), Image.Resampling.BICUBIC))
    for damage in CORRUPTIONS.values():
        gaps = [
            np.abs(damage(severity, picture).astype(int) - picture).mean()
            for severity in SEVERITIES
        ]
        assert gaps == sorted(gaps)
        assert gaps[0] > 0
        assert damage(3, picture).shape == picture.shape


def test_pictures_without_a_class_of_the_model_are_refused(look: Run, tmp_path: Path) -> None:
    for name in ("airplane", "zeppelin"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "in" / name / "x.png")
    outcome = look("confusion", "--model", "one", "--images", tmp_path / "in")
    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert "zeppelin" in outcome.err


def classified(predicted: list[int], labels: list[int]) -> Predictions:
    rows = np.eye(3)[predicted]
    return Predictions(np.arange(len(labels)), rows, np.array(labels))


def test_mcnemar_of_a_worked_example() -> None:
    # only the first is right on 8 pictures, only the second on 1: 2 * (1 + 9) / 2**9
    first = classified([0] * 8 + [1] + [0] * 3, [0] * 12)
    second = classified([1] * 8 + [0] + [0] * 2 + [1], [0] * 12)
    found = compare(first, second)
    assert (found.both, found.first, found.second, found.neither) == (2, 9, 1, 0)
    assert found.p_value == pytest.approx(2 * (1 + 10) / 2**10)
    assert compare(first, first).p_value == 1.0


def test_confusion_of_a_worked_example() -> None:
    answers = classified([0, 0, 1, 2, 2, 2], [0, 0, 0, 1, 1, 2])
    counts = count(answers, 3)
    assert counts.tolist() == [[2, 1, 0], [0, 0, 2], [0, 0, 1]]
    assert rates(counts)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert confused_pairs(counts) == [(1, 2), (0, 1)]
    order = similarity_order(counts).tolist()
    assert abs(order.index(1) - order.index(2)) == 1


def test_reliability_of_a_worked_example() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    found = reliability("x", scores, np.array([0, 1, 0, 1]))
    # of two answers at 0.9 one is right, both answers at 0.6 are right
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.6]).mean())
    assert found.brier == pytest.approx(np.mean([0.02, 1.62, 0.32, 0.32]))


def test_temperature_is_undone() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 7))
    served = np.exp(logits / 1.7)
    served /= served.sum(axis=1, keepdims=True)
    before = np.exp(logits)
    before /= before.sum(axis=1, keepdims=True)
    assert uncalibrated(served, 1.7) == pytest.approx(before)


def test_classes_that_lie_apart_have_no_errors() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(40) % 4
    vectors = 100 * np.eye(4)[labels] + random.normal(0, 0.1, (40, 4))
    pairs = draw_pairs(
        FeatureVectors(np.arange(40), vectors.astype(np.float32)), labels, "euclidean", 0
    )
    assert pairs.same.sum() == 4 * 45
    assert (~pairs.same).sum() == 40 * 39 // 2 - 4 * 45
    assert summary(pairs, seed=0).eer == (0.0, (0.0, 0.0))


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 1, 2], "two pictures"), ([1, 1, 1], "one class")]
)
def test_distances_need_pairs_of_both_kinds(labels: list[int], message: str) -> None:
    found = FeatureVectors(np.arange(3), np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match=message):
        draw_pairs(found, np.array(labels), "euclidean", 0)


def test_pairs_are_bounded() -> None:
    labels = np.zeros(900, np.int64)
    labels[450:] = 1
    vectors = np.random.default_rng(0).normal(size=(900, 2)).astype(np.float32)
    pairs = draw_pairs(FeatureVectors(np.arange(900), vectors), labels, "euclidean", 0)
    assert pairs.same.sum() == 200_000
    assert 0 < (~pairs.same).sum() <= 200_000


def test_labels_that_neighbours_contradict() -> None:
    vectors = np.array([[0], [1], [2], [3], [100], [101], [102]], np.float32)
    labels = np.array([0, 0, 1, 0, 1, 1, 1])
    places, distances = nearest(FeatureVectors(np.arange(7), vectors), 2)
    assert sorted(places[4].tolist()) == [5, 6]
    assert distances[4].tolist() == [1.0, 2.0]
    assert contradicted(places, labels) == [(2, 0, 1.0)]
    with pytest.raises(DataError, match="6 at most"):
        nearest(FeatureVectors(np.arange(7), vectors), 7)
