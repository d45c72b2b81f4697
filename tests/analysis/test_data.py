import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.answers import Predictions
from analysis.data import near_pairs
from analysis.labels import doubtful
from artifacts import DataError
from tests.analysis.conftest import Run


def photograph(seed: int, side: int = 96) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def test_shared_pictures_are_found(run: Run, tmp_path: Path) -> None:
    for seed in range(12):
        save(photograph(seed), tmp_path / "one" / "ab"[seed % 2] / f"{seed:02d}.png")
        save(photograph(100 + seed), tmp_path / "two" / "ab"[seed % 2] / f"{seed:02d}.png")
    save(photograph(3), tmp_path / "two" / "a" / "copy.png")  # labelled b in the first
    save(photograph(5, 64), tmp_path / "two" / "b" / "smaller.jpg", quality=60)
    (tmp_path / "two" / "b" / "torn.png").write_bytes(b"no picture")
    outcome = run("data", "--images", tmp_path / "one", "--images", tmp_path / "two", "--out", "o")
    assert outcome.status == 0, outcome.err
    assert "torn.png" in outcome.err
    with Path("o/data.csv").open(newline="") as file:
        found = {row["second"]: row for row in csv.DictReader(file)}
    assert set(found) == {"a/copy.png", "b/smaller.jpg"}
    copy = found["a/copy.png"]
    assert (copy["first"], copy["first_label"], copy["second_label"]) == ("b/03.png", "b", "a")
    assert copy["exact"] == "True"
    assert found["b/smaller.jpg"]["exact"] == "False"
    findings = json.loads(Path("o/data.json").read_text())["findings"]
    assert findings == [
        "within one: 0 pairs look alike, 0 of them the same pixel by pixel",
        "one with two: 2 pairs look alike, 1 of them the same pixel by pixel",
        "within two: 0 pairs look alike, 0 of them the same pixel by pixel",
    ]
    assert {path.name for path in Path("o").iterdir()} == {
        "alike.png",
        "classes.png",
        "data.csv",
        "data.json",
    }


def test_folders_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    for folder in ("left/same", "right/same"):
        save(photograph(1), tmp_path / folder / "a" / "1.png")
        save(photograph(2 if "left" in folder else 3), tmp_path / folder / "a" / "2.png")
    folders = (tmp_path / "left" / "same", tmp_path / "right" / "same")
    outcome = run("data", "--images", folders[0], "--images", folders[1], "--out", "o")
    assert outcome.status == 0, outcome.err
    findings = json.loads(Path("o/data.json").read_text())["findings"]
    assert [line.split(",")[0] for line in findings] == [
        "within same: 0 pairs look alike",
        "same with same: 1 pairs look alike",
        "within same: 0 pairs look alike",
    ]


def test_more_sets_than_colours_are_drawn(run: Run, tmp_path: Path) -> None:
    for name in "abcdefgh":
        save(photograph(ord(name)), tmp_path / "in" / name / "1.png")
    outcome = run("data", *["--images", tmp_path / "in"] * 11, "--out", "o")
    assert outcome.status == 0, outcome.err
    assert Path("o/classes.png").exists()


def test_nothing_to_look_at_is_refused(run: Run) -> None:
    outcome = run("data")
    assert outcome.status == 2
    assert "--dataset" in outcome.err


def test_near_pairs_are_all_that_there_are() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    products = vectors @ vectors.T
    expected = {(i, j) for i in range(300) for j in range(i + 1, 300) if products[i, j] > 0.95}
    assert {(i, j) for i, j, _ in near_pairs(vectors, 0.95)} == expected


def test_turned_labels_are_doubted() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    scores = 0.8 * np.eye(3)[truth] + 0.2 * random.dirichlet(np.ones(3), 300)
    labels = truth.copy()
    labels[:6] = (labels[:6] + 1) % 3
    found = doubtful(Predictions(np.arange(300), scores, labels))
    assert set(found) <= set(range(6))  # none that is right
    assert len(found) >= 5


def test_labels_of_one_class_are_not_doubted() -> None:
    with pytest.raises(DataError, match="of one class"):
        doubtful(Predictions(np.arange(4), np.full((4, 3), 1 / 3), np.ones(4, np.int64)))
