"""Learning on generated pictures from a teacher that classifies."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from artifacts import Artifact, InputPolicy, Runtime
from artifacts.manifest import TeacherRecord
from tests.graphs import face_artifact, tiny_artifact, tiny_model
from training.augment import change
from training.data import Splits, load_splits
from training.inputs import normalise
from training.loop import fit
from training.recipe import Recipe, RecipeError, load_recipe
from training.recipe_settings import SettingError
from training.run import initial_network, make_accelerator
from training.schedule.trial import epoch_seconds
from training.teacher import teacher_record
from training.views import Lessons, view, with_views

VIEWS = 2
FEW = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        yield folder


def recipe(**changes: object) -> Recipe:
    own = {
        "loss.name": "distillation",
        "loss.teacher": "teacher",
        "loss.views": VIEWS,
        "loss.mixed": 0.5,
        "loss.temperature": 2,
        "loss.label_smoothing": 0,
        "augment.sizes": ["32x32", "24x24"],
        "evaluation.sizes": [],
        "network.options": {"widths": [16, 32, 32]},
    }
    return load_recipe("cifar10-fast", "smoke", changes={**own, **changes})


@pytest.fixture(scope="module")
def splits() -> Splits:
    settings = recipe()
    return load_splits(settings.data, settings.seed)


@pytest.fixture(scope="module")
def teacher(folder: Path, splits: Splits) -> Artifact:
    """A network with random weights, shifted and scaled to give every class to some pictures."""
    graph = tiny_model(len(splits.classes))
    runtime = Runtime(graph.SerializeToString(), InputPolicy())
    logits = runtime.run(splits.validation.originals, ["logits"])["logits"]
    scale = (4 / logits.std(0)).astype(np.float32)
    for weight in graph.graph.initializer:
        if weight.name in ("w3", "b3"):
            value = numpy_helper.to_array(weight) * scale
            shift = scale * logits.mean(0) if weight.name == "b3" else 0
            weight.CopyFrom(numpy_helper.from_array(value - shift, weight.name))
    root = folder / "models"
    return tiny_artifact(root, "teacher", classes=splits.classes, graph=graph, title="Tiny")


@pytest.fixture(scope="module")
def lessons(teacher: Artifact, splits: Splits) -> Splits:
    del teacher  # it exists
    return with_views(splits, recipe())


def test_a_view_is_the_same_at_every_call(splits: Splits) -> None:
    images = splits.train.images[:FEW]
    first = view(images, recipe(), 0)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert first.equal(view(images, recipe(), 0))
    assert not first.equal(view(images, recipe(), 1))
    assert not first.equal(view(images, recipe(seed=1), 0))


def test_a_share_of_a_view_is_mixed(splits: Splits) -> None:
    images, plain = splits.train.images[:FEW], recipe(**{"loss.mixed": 0})
    alone, mixed = view(images, plain, 0), view(images, recipe(), 0)
    generator = torch.Generator().manual_seed(0)
    changed = change(images, torch.arange(FEW), plain, generator, 0)
    assert alone.equal(changed.float().round().to(torch.uint8))
    same = (alone == mixed).flatten(1).all(1).float().mean()
    assert 0.25 < same < 0.75
    levels = torch.tensor([0, 255], dtype=torch.uint8).repeat(FEW // 2)
    flat = levels[:, None, None, None].expand(-1, 8, 8, 3).contiguous()
    still = {"augment.translate": 0, "augment.cutout": 0, "augment.jitter": 0, "loss.mixed": 1}
    shift = (view(flat, recipe(**still), 0).float().mean((1, 2, 3)) - levels).abs()
    assert (shift <= 128).all(), "at most half of another picture"
    assert shift.max() > 30


def test_the_student_learns_what_the_teacher_says_about_the_same_pictures(
    lessons: Splits, teacher: Artifact
) -> None:
    source = Lessons(lessons.train, recipe(), torch.device("cpu"))
    indices, generator = torch.arange(5, 25), torch.Generator()
    for epoch in (1, 2, 3):
        inputs, taught = source.training(indices, generator, epoch)
        shown = view(lessons.train.images, recipe(), epoch % VIEWS)[indices]
        expected = Runtime.open(teacher).run(shown.numpy(), ["logits"])["logits"]
        np.testing.assert_allclose(taught, expected, atol=1e-4)
        assert inputs[0].shape[2:] in ((32, 32), (24, 24))
    assert lessons.train.taught is not None
    assert lessons.train.taught.shape == (VIEWS, len(lessons.train), len(lessons.classes))


def test_the_teacher_is_asked_once(
    lessons: Splits, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(_artifact: Artifact) -> Runtime:
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(Runtime, "open", asked)
    assert lessons.train.taught is not None
    again = with_views(splits, recipe()).train.taught
    assert again is not None
    assert again.equal(lessons.train.taught)
    with pytest.raises(AssertionError):
        with_views(splits, recipe(seed=1))


def test_a_student_answers_as_its_teacher(
    lessons: Splits, teacher: Artifact, tmp_path: Path
) -> None:
    settings = recipe(epochs=3)
    network, accelerator = initial_network(settings, lessons), make_accelerator(settings)
    student, history = fit(network, lessons, settings, tmp_path, accelerator)
    pictures = lessons.validation
    expected = Runtime.open(teacher).run(pictures.originals, ["logits"])["logits"].argmax(1)
    with torch.inference_mode():
        found = student(normalise(pictures.images, settings)).argmax(1).numpy()
    share = (found == expected).mean()
    assert share > np.bincount(expected).max() / len(expected) + 0.2
    assert history[-1].train_accuracy > history[0].train_accuracy, "the share of the same answers"


def test_its_card_names_the_teacher(teacher: Artifact, tmp_path: Path) -> None:
    record = teacher_record(recipe())
    assert record == TeacherRecord(
        name="teacher", title="Tiny", graph=teacher.manifest.files["model.onnx"]
    )
    card = (tiny_artifact(tmp_path, teacher=record).path / "card.md").read_text()
    assert "Learned the answers of `teacher`: Tiny." in card


@pytest.mark.usefixtures("teacher")
def test_an_epoch_is_timed_without_asking_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "open", None)
    seconds = epoch_seconds(recipe(batch_size=20))
    assert seconds is not None
    assert seconds > 0


def test_a_teacher_must_classify_the_same(teacher: Artifact, splits: Splits) -> None:
    root = teacher.path.parent
    face_artifact(root, "faces", 12)
    tiny_artifact(root, "colours")
    with pytest.raises(RecipeError, match=r"loss\.teacher: faces has the task embedding"):
        with_views(splits, recipe(**{"loss.teacher": "faces"}))
    with pytest.raises(RecipeError, match="the classes of colours are not those of synthetic"):
        with_views(splits, recipe(**{"loss.teacher": "colours"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss.teacher": ""}, "needs the name of an artifact"),
        ({"loss.morphs": 1}, r"learning from loss\.views does not allow it"),
        ({"loss.mixed": 1.5}, "mixed"),
        ({"loss.temperature": 0}, "temperature"),
        ({"cache": "fp32"}, "learning from"),
        ({"loss.name": "nll"}, "only the loss distillation"),
        ({"loss.views": 0, "route": None}, r"it needs loss\.views"),
    ],
)
def test_settings_of_views_are_checked(changes: dict[str, object], said: str) -> None:
    with pytest.raises((RecipeError, SettingError), match=said):
        recipe(**changes)
