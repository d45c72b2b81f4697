"""Learning on generated people from a teacher that embeds the colours of places."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.faces.embedding import embed_chips
from artifacts.manifest import TeacherRecord
from tests.graphs import face_artifact, tiny_artifact
from training.data import Split, Splits, load_splits
from training.faces.teacher import morphs, with_teacher
from training.faces.thresholds import measure_people
from training.recipe import Recipe, RecipeError, load_recipe
from training.recipe_settings import SettingError
from training.run import run

SMALL = {"network.options.model": "mobilenetv2_035"}
QUICK = {
    "network.options.stages": 2,
    "network.options.side": 8,
    "augment.jitter": 0.0,
    "augment.grey": 0.0,
    "optimizer.lr": 0.01,
    "optimizer.ema": 0.0,
    "epochs": 3,
}
"""What lets a student of generated people learn within seconds."""
WIDTH = 12
"""Numbers of an embedding of the teacher."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        yield folder


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Artifact:
    return face_artifact(folder / "models", "teacher", WIDTH, title="Colours of places")


def recipe(teacher: str, **changes: object) -> Recipe:
    own = {"loss.teacher": teacher, "network.options.width": WIDTH}
    return load_recipe("faces-distilled", "smoke", changes={**SMALL, **own, **changes})


@pytest.fixture(scope="module")
def taught(teacher: Artifact) -> tuple[Splits, Splits]:
    """The pictures of the recipe, and what becomes of them."""
    settings = recipe(teacher.name, **{"loss.morphs": 1})
    splits = load_splits(settings.data, settings.seed)
    return splits, with_teacher(splits, settings)


def test_every_picture_and_mixture_has_the_embedding_of_the_teacher(
    taught: tuple[Splits, Splits], teacher: Artifact
) -> None:
    splits, lessons = taught
    count = len(splits.train)
    assert lessons.train.images.shape == (2 * count, 32, 32, 3)
    assert lessons.train.labels.shape == (2 * count, WIDTH)
    assert lessons.train.images[:count].equal(splits.train.images)
    assert lessons.validation is splits.validation
    assert lessons.train.labels[:count].mean(0).abs().max() < 1e-5, "the mean is subtracted"
    chosen = [0, count - 1, count, 2 * count - 1]
    chips = lessons.train.images[chosen].numpy()
    expected = embed_chips(Runtime.open(teacher), chips, mirrored=True)
    found = lessons.train.labels[chosen].numpy()
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-4)


def test_the_teacher_is_asked_once(
    taught: tuple[Splits, Splits], teacher: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(_artifact: Artifact) -> Runtime:
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(Runtime, "open", asked)
    splits, lessons = taught
    again = with_teacher(splits, recipe(teacher.name, **{"loss.morphs": 1}))
    assert again.train.labels.equal(lessons.train.labels)
    with pytest.raises(AssertionError):
        with_teacher(splits, recipe(teacher.name, **{"loss.morphs": 1, "seed": 1}))


def test_mixtures_show_two_people_and_more_of_the_first() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    levels = torch.tensor([0, 100, 200])[labels]
    images = levels[:, None, None, None].expand(-1, 4, 4, 3).to(torch.uint8)
    first, second = morphs(Split(images, labels, images.numpy()), 2, seed=0)
    for mixed in (first, second):
        shift = (mixed.float().mean((1, 2, 3)) - levels).abs()
        assert (shift <= 100).all(), "at most half of the distance to a level 200 away"
        assert (shift > 0).any()
    assert not first.equal(second)
    assert first.equal(morphs(Split(images, labels, images.numpy()), 1, seed=0)[0])
    assert not first.equal(morphs(Split(images, labels, images.numpy()), 1, seed=1)[0])


def test_a_student_learns_the_distances_of_its_teacher(teacher: Artifact) -> None:
    artifact = run(recipe(teacher.name, **QUICK))
    assert artifact is not None
    assert artifact.manifest.dataset is not None
    assert artifact.manifest.dataset.train_samples == 320, "mixtures are no pictures of its data"
    assert artifact.manifest.teacher == TeacherRecord(
        name=teacher.name, title=teacher.manifest.title, graph=teacher.manifest.files["model.onnx"]
    )
    card = (artifact.path / "card.md").read_text()
    assert f"Learned the embeddings of `{teacher.name}`" in card
    both = [
        measure_people(each, "synthetic/people:test", 10, 0, aligned=True)
        for each in (teacher, artifact)
    ]
    assert np.corrcoef([each.distances for each in both])[0, 1] > 0.5
    assert '"teacher": {' not in (teacher.path / "manifest.json").read_text()


def test_a_teacher_must_embed_faces_in_the_same_width(
    taught: tuple[Splits, Splits], teacher: Artifact
) -> None:
    with pytest.raises(ArtifactError, match="nobody"):
        with_teacher(taught[0], recipe("nobody"))
    tiny_artifact(teacher.path.parent, "classifier")
    with pytest.raises(RecipeError, match=r"loss\.teacher: classifier is a classifier"):
        with_teacher(taught[0], recipe("classifier"))
    narrow = recipe(teacher.name, **{"network.options.width": 8, "loss.morphs": 0})
    with pytest.raises(RecipeError, match=r"set network\.options\.width to 12"):
        run(narrow)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("faces-distilled", {"loss.teacher": ""}, "needs the name of an artifact"),
        ("faces-distilled", {"loss.per_class": 2}, "needs loss.per_class: 1"),
        ("faces-distilled", {"loss.morphs": -1}, "morphs"),
        ("faces-lite0-arcface", {"loss.teacher": "faces-dlib"}, "only the loss distillation"),
        ("digits", {"loss.morphs": 1}, "only the loss distillation"),
    ],
)
def test_settings_of_a_teacher_are_checked(
    name: str, changes: dict[str, object], said: str
) -> None:
    with pytest.raises((RecipeError, SettingError), match=said):
        load_recipe(name, "smoke", changes=changes)
