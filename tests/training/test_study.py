import csv
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts import Artifact
from training.commands.studies import train
from training.comparison import write_comparison
from training.figures import write_study_figures
from training.history import DivergedError
from training.recipe import Recipe, RecipeError, load_recipe
from training.study import (
    compare,
    first_rise,
    origin,
    profile_changes,
    study_recipes,
)

Trained = tuple[Path, Recipe, dict[str, str], dict[str, DivergedError]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A folder where one recipe was trained, one failed, and one of a study diverged."""
    folder = tmp_path_factory.mktemp("study")
    good = load_recipe("mnist-relu-cross-entropy-sgd", "smoke")
    wild = replace(good, name="wild", optimizer=replace(good.optimizer, lr=1e30))
    bad = replace(good, name="bad", data=replace(good.data, name="image_folder/missing"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        failed, diverged = train([bad, wild, good])
    return folder, good, failed, diverged


def test_training_goes_on_past_a_failure(trained: Trained) -> None:
    folder, good, failed, diverged = trained
    assert list(failed) == ["bad"]
    assert "missing" in failed["bad"]
    assert str(folder) not in failed["bad"]
    assert list(diverged) == ["wild"]
    assert Artifact.open(good.artifact_name, folder / "models").manifest.synthetic
    assert [path.name for path in (folder / "models").iterdir()] == [good.artifact_name]


def test_changes_name_the_precision_that_was_used(trained: Trained) -> None:
    folder, good, _, _ = trained
    run = Artifact.open(good.artifact_name, folder / "models").manifest.run
    assert run is not None
    asked = load_recipe("ladder-e", "cpu")
    assert profile_changes(asked) == "precision bf16 instead of no"
    assert profile_changes(asked, run.model_copy(update={"precision": "no"})) == ""


def test_comparison_sets_ours_beside_the_reported(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, good, _, diverged = trained
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
    recipe = replace(good, reported={"accuracy/validation": 0.5}, remark="as printed")
    wild = replace(good, name="mnist-relu-nll-on-logits-sgd")
    rows = compare([recipe, wild], {wild.name: diverged["wild"]})
    paths = write_comparison(rows, "a title", origin([recipe]), folder / "out")
    assert [path.suffix for path in paths] == [".md", ".csv", ".png"]
    ours = Artifact.open(good.artifact_name).manifest.metric("accuracy", "validation")
    assert ours is not None
    written, lost = csv.DictReader(paths[1].read_text().splitlines())
    assert lost["remark"].startswith("diverged in epoch 1")
    assert lost["test"] == ""
    assert lost["parameters"] == "84060"
    assert float(written["difference"]) == pytest.approx(ours - 0.5, abs=1e-4)
    assert int(written["parameters"]) == 84_060
    text = paths[0].read_text()
    assert "0.5000 (validation)" in text
    assert "Seed: 0." in text
    assert "200 validation, 500 test, 800 train; synthetic/digits" in text
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_every_study_has_its_systems() -> None:
    counts = {s: len(study_recipes(s, "cpu")) for s in ("ladder", "blocks", "mnist")}
    assert counts == {"ladder": 9, "blocks": 6, "mnist": 18}
    with pytest.raises(
        RecipeError, match="blocks, cars, faces, from-scratch, from-scratch-faces, ladder, mnist"
    ):
        study_recipes("nothing", "cpu")


def test_first_rise() -> None:
    assert first_rise([3.0, 2.0, 2.0, 1.0]) is None
    assert first_rise([3.0, 2.0, 2.5, 1.0]) == 3
    assert first_rise([]) is None


def test_a_study_has_its_own_figures(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, good, _, diverged = trained
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
    wild = replace(good, name="mnist-relu-nll-on-logits-sgd")
    rows = compare([good, wild], {wild.name: diverged["wild"]})
    write_study_figures("mnist", [good, wild], rows, tmp_path, "a command")
    write_study_figures("blocks", [load_recipe("blocks-plain", "smoke")], [], tmp_path, "")
    drawn = {path.name for path in tmp_path.iterdir()}
    augmented = {"augmented.png", "draws.png", "validation-classes.png"}
    assert drawn == augmented | {"test-error.png", "curves.png"}
