"""Analyses of multi-label models, and of pictures with several labels or none."""

import csv
from pathlib import Path

import numpy as np
import pytest

from analysis.data import _counts
from analysis.inputs import Pictures
from artifacts import Artifact, Runtime
from artifacts.atlas import Atlas
from artifacts.datasets import load
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact

DATA = ("--dataset", "synthetic/shapes:test", "--limit", "40")
SHAPES = load("synthetic/shapes", "test").head(40)
THRESHOLDS = (0.5, 0.5, 0.4, 0.6)


@pytest.fixture
def shapes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, with a multi-label model `several` and a classifier `one` of the same classes."""
    root = tmp_path / "models"
    tiny_artifact(
        root, "several", task="multi-label", classes=SHAPES.classes, thresholds=THRESHOLDS
    )
    tiny_artifact(root, "one", classes=SHAPES.classes)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    return run


def rows(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def joined(flags: np.ndarray) -> str:
    return "|".join(SHAPES.classes[c] for c in np.flatnonzero(flags))


def present() -> list[set[str]]:
    """The classes that the model finds in each picture, straight from the graph."""
    runtime = Runtime.open(Artifact.open("several"))
    logits = runtime.run(list(SHAPES.images), ["logits"])["logits"]
    found = 1 / (1 + np.exp(-logits / 2.0)) >= np.array(THRESHOLDS)
    return [set(filter(None, joined(row).split("|"))) for row in found]


@pytest.mark.parametrize(
    "analysis", ["confusion", "calibration", "labels", "sizes", "robustness", "compare"]
)
def test_what_needs_one_class_per_picture_says_so(shapes: Run, analysis: str) -> None:
    models = ["--model", "several"] + ["--model", "one"] * (analysis == "compare")
    done = shapes(analysis, *models, *DATA, "--out", "out")
    assert done.status == 1
    assert done.err.startswith(
        "error: 'several' is a multi-label model; this analysis takes models that give each "
        "picture one class."
    )
    done = shapes(analysis, *[m.replace("several", "one") for m in models[:2]], *DATA)
    if analysis != "compare":
        assert done.status == 1
        assert "synthetic/shapes:test: its pictures have several labels or none" in done.err


def test_the_map_and_the_neighbours_show_all_labels(shapes: Run) -> None:
    assert shapes("map", "--model", "several", *DATA, "--out", "out").status == 0
    table = rows("out/map.csv")
    assert [row["label"] for row in table] == [joined(row) for row in SHAPES.labels]
    found = [set(filter(None, row["predicted"].split("|"))) for row in table]
    assert found == present()
    assert len({frozenset(each) for each in found}) > 1
    assert shapes("neighbours", "--model", "several", *DATA, "--out", "near").status == 0
    assert rows("near/neighbours.csv")[0]["label"] == joined(SHAPES.labels[0])
    assert shapes("sparsity", "--model", "several", *DATA, "--out", "zeros").status == 0


def test_distances_need_one_label(shapes: Run) -> None:
    done = shapes("distances", "--model", "several", *DATA)
    assert done.status == 1
    assert "have no class" in done.err


def test_an_atlas_names_the_classes_that_are_present(shapes: Run) -> None:
    assert shapes("atlas", "--model", "several", *DATA).status == 0
    atlas = Atlas.read(Artifact.open("several"))
    assert atlas is not None
    assert list(atlas.labels) == [joined(row) for row in SHAPES.labels]
    assert [set(filter(None, names.split("|"))) for names in atlas.predicted] == present()


def test_a_report_has_the_analyses_that_fit(shapes: Run) -> None:
    assert shapes("report", "--model", "several", *DATA, "--out", "reports").status == 0
    folders = {path.parent.name for path in Path("reports/several").glob("*/*.json")}
    assert folders - {"answers"} == {"map", "neighbours", "sparsity"}


def test_classes_are_counted_where_pictures_have_several(shapes: Run) -> None:
    done = shapes("data", "--dataset", "synthetic/shapes:test", "--out", "data")
    assert done.status == 0, done.err
    assert Path("data/classes.png").exists()
    pictures = Pictures.from_dataset("synthetic/shapes:test")
    whole = load("synthetic/shapes", "test")
    assert _counts(pictures).tolist() == whole.labels.sum(axis=0).tolist()
    one = Pictures.from_dataset("synthetic/objects:test")
    assert _counts(one).tolist() == [50] * 10
