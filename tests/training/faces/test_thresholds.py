"""`python -m training calibrate-faces` on generated people."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts import Artifact
from tests.commands import run_in_process
from tests.graphs import dataset_record, face_artifact, tiny_artifact
from tests.pictures import photograph
from training.__main__ import main

PEOPLE, PICTURES = 30, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write `faces/made`: a folder per person, whose pictures differ by noise."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for person in range(PEOPLE):
        folder = root / "faces" / "made" / f"p{person:02}"
        folder.mkdir(parents=True)
        for number in range(PICTURES):
            noise = random.normal(0, 40, (48, 48, 3))
            pixels = np.clip(np.asarray(photograph(48, 48, person)) + noise, 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(autouse=True)
def _environment(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DATA", str(data))
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path))


calibrate = partial(run_in_process, main, "training", "calibrate-faces")


def test_thresholds_are_set_by_the_people_of_a_data_set(tmp_path: Path) -> None:
    before = face_artifact(tmp_path, verification={"metric": "cosine"})
    options = ("--dataset", "faces/made:all", "--check", "faces/made:test", "--fmr", "0.01")
    done = calibrate("faces", *options, "--aligned", "--per-person", "3")
    assert done.status == 0, done.err
    after = Artifact.open("faces", tmp_path)
    assert after.hash == before.hash, "galleries stay valid"
    verification = after.manifest.verification
    assert verification is not None
    assert verification.metric == "cosine"
    (threshold,) = verification.thresholds
    assert threshold.target_fmr == 0.01
    assert threshold.fmr == pytest.approx(0.01, abs=0.001)
    assert threshold.fmr_interval[0] <= threshold.fmr <= threshold.fmr_interval[1]
    pairs = verification.pairs
    assert pairs is not None
    assert (pairs.dataset, pairs.people, pairs.same) == ("faces/made:all", PEOPLE, 3 * PEOPLE)
    assert pairs.different == 9 * PEOPLE * (PEOPLE - 1) // 2
    assert after.manifest.metric("eer", "faces/made:test") is not None
    assert "faces/made:test" in (after.path / "card.md").read_text()


def test_thresholds_are_set_by_listed_pairs(data: Path, tmp_path: Path) -> None:
    face_artifact(tmp_path, verification={"metric": "euclidean"})
    people = [f"p{person:02}" for person in range(PEOPLE)]
    rows = [(p, f"{p}/0.png", q, f"{q}/1.png") for p in people for q in people]
    file = data / "faces" / "made" / "pairs.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerows([("first_person", "first", "second_person", "second"), *rows])
    options = ("--pairs", str(file), "--aligned", "--fmr", "0.05")
    done = calibrate("faces", *options)
    assert done.status == 0, done.err
    verification = Artifact.open("faces", tmp_path).manifest.verification
    assert verification is not None
    assert verification.pairs is not None
    assert verification.pairs.same == PEOPLE
    assert verification.pairs.different == PEOPLE * (PEOPLE - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "either --dataset or --pairs"),
        (("--dataset", "faces/none:test"), "no pictures found"),
        (("--dataset", "cifar9"), "unknown"),
        (("--dataset", "faces/made:all", "--aligned", "--fmr", "0.0001"), "are needed"),
        (("--dataset", "faces/made:test"), "no face was found"),
        (("--pairs", __file__), "not a list of pairs"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    face_artifact(tmp_path)
    done = calibrate("faces", *options)
    assert done.status != 0
    assert message in done.err
    assert "Traceback" not in done.err


def test_people_a_model_has_seen_set_no_thresholds(tmp_path: Path) -> None:
    seen = dataset_record("faces/made", synthetic=False)
    face_artifact(tmp_path, dataset=seen)
    done = calibrate("faces", "--dataset", "faces/made:all", "--aligned")
    assert done.status != 0
    assert "was trained on people" in done.err


def test_a_classifier_has_no_thresholds(tmp_path: Path) -> None:
    tiny_artifact(tmp_path)
    done = calibrate("tiny", "--dataset", "faces/made:all", "--aligned")
    assert done.status != 0
    assert "only embeddings" in done.err
