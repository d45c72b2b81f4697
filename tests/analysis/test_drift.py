import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from analysis.corruptions import noise
from analysis.drift import compare_pictures
from analysis.inputs import Pictures
from artifacts.datasets import load
from artifacts.pictures import Picture
from serving.client.in_process import LocalPredictor
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact
from tests.server import running_server
from training.drift_reference import add_reference


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def watched(models_root: Path) -> str:
    """A model with a reference, in the folder that `run` uses."""
    train = load("synthetic/objects", "train")
    add_reference(tiny_artifact(models_root, "watched"), train.images, "objects")
    return "watched"


def test_known_pictures_do_not_drift_and_others_do(run: Run, watched: str, tmp_path: Path) -> None:
    done = run("drift", "--model", watched, "--dataset", "synthetic/objects:test", "--out", "known")
    assert done.status == 0, done.err
    assert done.out.count("no drift") == 3
    rows = read("known/drift.csv")
    assert [row["drifted"] for row in rows] == ["False"] * 3
    features = read("known/features.csv")
    assert len(features) == 16
    parts = [float(row["part"]) for row in features]
    assert sum(parts) == pytest.approx(float(rows[2]["value"]))
    folder = tmp_path / "foreign"
    folder.mkdir()
    for number, picture in enumerate(load("synthetic/objects", "test").images[:200]):
        Image.fromarray(picture // 4).resize((64, 64)).save(folder / f"{number}.png")
    done = run("drift", "--model", watched, "--images", folder, "--out", "foreign-report")
    assert done.status == 0, done.err
    drifted = {row["quantity"]: row["drifted"] for row in read("foreign-report/drift.csv")}
    assert (drifted["sides"], drifted["features"]) == ("True", "True")
    bins = read("foreign-report/histograms.csv")
    assert sum(float(row["share"]) for row in bins if row["quantity"] == "sides") == 1
    assert Path("foreign-report/drift.png").stat().st_size > 10_000


def test_a_server_gives_the_same_and_its_last_answers(
    run: Run, watched: str, models_root: Path, tmp_path: Path
) -> None:
    data = ("--dataset", "synthetic/objects:test", "--limit", 150)
    with running_server(models_root, tmp_path / "log.txt") as url:
        few = run("drift", "--model", watched, "--url", url)
        assert (few.status, few.err.count("\n")) == (1, 1)
        assert "0 answers so far" in few.err
        for out, where in (("remote", ("--url", url)), ("local", ())):
            done = run("drift", "--model", watched, *data, *where, "--out", out)
            assert done.status == 0, done.err
        last = run("drift", "--model", watched, "--url", url, "--out", "last")
    remote, local = (read(f"{out}/drift.csv") for out in ("remote", "local"))
    for one, other in zip(remote, local, strict=True):
        assert float(one["value"]) == pytest.approx(float(other["value"]), abs=1e-6)
    assert last.status == 0, last.err
    assert last.out.count("no drift") == 3
    assert "over 300 pictures" in last.out  # classes and features were asked for, each by itself


def test_a_model_without_reference_is_one_line(run: Run) -> None:
    done = run("drift", "--model", "tiny", "--dataset", "synthetic/objects:test")
    assert done.status == 1
    assert done.err.startswith("error: tiny: the artifact has no reference")
    assert done.err.count("\n") == 1


def blur(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))


@pytest.mark.data("cifar-10-batches-py")
def test_cifar_test_pictures_do_not_drift_and_spoilt_ones_do() -> None:
    predictor = LocalPredictor()
    info = predictor.model_info("cifar10-fast")
    test = Pictures.from_dataset("cifar10:test", 400)
    known = compare_pictures(predictor, info, test).distances
    assert not any(each.drifted for each in known)
    for change in (blur, partial(noise, 3)):
        spoilt = replace(Pictures.from_dataset("cifar10:test", 200), change=change)
        found = {e.quantity: e.drifted for e in compare_pictures(predictor, info, spoilt).distances}
        assert found == {"sides": False, "confidences": True, "features": True}
    foreign = Pictures.from_dataset("synthetic/people:test", 200)
    assert all(each.drifted for each in compare_pictures(predictor, info, foreign).distances)
