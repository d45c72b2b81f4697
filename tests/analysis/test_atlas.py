import numpy as np

from analysis.atlas import unit_square
from artifacts import Artifact, datasets
from artifacts.atlas import Atlas
from serving.client.in_process import LocalPredictor
from tests.analysis.conftest import Run

ARGUMENTS = ("atlas", "--model", "one", "--dataset", "synthetic/objects:test", "--limit", 60)


def test_a_model_finds_neighbours_among_its_atlas(look: Run) -> None:
    before = Artifact.open("one")
    outcome = look(*ARGUMENTS)
    assert outcome.status == 0, outcome.err
    after = Artifact.open("one")
    assert after.hash == before.hash
    atlas = Atlas.read(after)
    assert atlas is not None
    data = datasets.load("synthetic/objects", "test").head(60)
    assert atlas.labels == tuple(data.classes[label] for label in data.labels)
    assert atlas.data == "synthetic/objects:test, 60 pictures"
    sent = [np.asarray(data.images[i]) for i in (0, 7)]
    predictor = LocalPredictor()
    found = predictor.neighbours("one", sent, top=3)
    assert [each.nearest[0].number for each in found.pictures] == [0, 7]
    named = predictor.classify("one", sent, top=1).pictures
    assert [atlas.predicted[i] for i in (0, 7)] == [each.top[0].label for each in named]


def test_too_few_pictures_are_refused(look: Run) -> None:
    outcome = look(*ARGUMENTS[:-1], 3)
    assert outcome.status == 2
    assert "4<=x<=2000" in outcome.err


def test_the_square_keeps_shapes_and_turns_them_upside_down() -> None:
    square = unit_square(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]]))
    assert np.allclose(square, [[0, 0.75], [1, 0.75], [1, 0.25]])
