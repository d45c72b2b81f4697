"""Which model of a route is its default, whether that is clear, and how it is chosen."""

from pathlib import Path
from typing import Any

import pytest

from artifacts import Artifact, ArtifactError, artifact_names
from artifacts.manifest import Manifest
from artifacts.routes import make_default, models_by_route, unclear_defaults
from tests.graphs import dataset_record, tiny_artifact


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path))
    return tmp_path


def bird(root: Path, name: str, accuracy: float | None = None, **fields: Any) -> Artifact:
    """A model of the route `birds`, in a folder of a version if the name has one.

    Versions of a model come before the folder without one, which would be renamed.
    """
    metric = {"name": "accuracy", "value": accuracy, "split": "validation", "samples": 9}
    fields = {"route": "birds", "metrics": [] if accuracy is None else [metric], **fields}
    artifact = tiny_artifact(root, name.partition("@")[0], **fields)
    if artifact.name != name:
        artifact.path.rename(root / name)
    return artifact


def made_up(root: Path, name: str, **fields: Any) -> Artifact:
    """The same, trained on generated pictures."""
    return bird(root, name, dataset=dataset_record("synthetic/objects", synthetic=True), **fields)


def manifests() -> dict[str, Manifest]:
    return {name: Artifact.open(name).manifest for name in artifact_names()}


def ranked() -> tuple[str, ...]:
    return models_by_route(manifests(), artifact_names())["birds"]


def unclear() -> list[str]:
    return unclear_defaults(manifests(), artifact_names())


def test_real_data_then_default_then_accuracy_then_the_name_decide(root: Path) -> None:
    made_up(root, "a", accuracy=0.99, default=True)
    bird(root, "b", 0.3)
    bird(root, "c", 0.3)
    bird(root, "d", 0.8)
    bird(root, "e", 0.1, default=True)
    tiny_artifact(root, "f", route="fish")
    tiny_artifact(root, "g")
    assert ranked() == ("e", "d", "b", "c", "a")
    assert list(models_by_route(manifests(), artifact_names())) == ["birds", "fish"]
    assert unclear() == []


def test_two_that_say_default_are_named_with_the_one_that_answers(root: Path) -> None:
    bird(root, "first", 0.2, default=True)
    bird(root, "second", 0.4, default=True)
    bird(root, "third", 0.9)
    (sentence,) = unclear()
    assert "'birds': second, first all say that they are the default; second answers" in sentence
    assert "vitrine models default" in sentence


def test_several_of_which_none_says_default_are_named(root: Path) -> None:
    bird(root, "first", 0.2)
    assert unclear() == []
    bird(root, "second", 0.4)
    (sentence,) = unclear()
    assert "none of second, first says that it is the default; second answers" in sentence


def test_those_that_another_rule_excludes_make_nothing_unclear(root: Path) -> None:
    bird(root, "mine@2", default=True)
    bird(root, "mine", default=True)
    made_up(root, "smoke", default=True)
    assert unclear() == []
    assert ranked() == ("mine", "smoke", "mine@2")


def test_a_default_is_made_in_place_of_all_others(root: Path) -> None:
    bird(root, "first", 0.2, default=True)
    before = bird(root, "second", 0.4, default=True)
    bird(root, "third", 0.1)
    tiny_artifact(root, "fish", route="fish", default=True)
    assert make_default("third") == ["first", "second"]
    assert ranked() == ("third", "second", "first")
    assert unclear() == []
    after = Artifact.open("second")
    assert after.hash == before.hash
    assert after.manifest.model_copy(update={"default": True}).sealed() == before.manifest
    assert Artifact.open("fish").manifest.default
    assert make_default("third") == []


def test_what_would_not_answer_cannot_be_made_the_default(root: Path) -> None:
    bird(root, "mine@1")
    bird(root, "mine", default=True)
    made_up(root, "smoke")
    tiny_artifact(root, "named")
    kept = manifests()
    for name, message in (
        ("mine@1", "not the default version"),
        ("smoke", "trained on synthetic pictures"),
        ("named", "has no route"),
        ("nobody", "no artifact called"),
    ):
        with pytest.raises(ArtifactError, match=message):
            make_default(name)
    assert manifests() == kept


def test_the_published_models_leave_nothing_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRINE_ARTIFACTS")
    defaults = {r: m[0] for r, m in models_by_route(manifests(), artifact_names()).items()}
    assert defaults == {
        "cars": "cars-lite0-finetuned",
        "cifar10": "cifar10-fast",
        "digits": "digits",
        "faces": "faces-dlib",
    }
    assert unclear() == []
