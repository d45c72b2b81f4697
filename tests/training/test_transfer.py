"""Transfer learning: parameter counts, heads and training of its recipes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from artifacts import Artifact, Runtime
from training.networks import build, parameter_counts
from training.recipe import PROFILES, RecipeError, load_recipe, recipe_names
from training.run import copy_head, run
from training.study import compare, study_recipes

pytestmark = pytest.mark.timeout(900)  # the first test that needs `models` waits for four trainings

PAPER = [name for name in recipe_names() if name.startswith("single-block-paper-")]
UNCOUNTED_HEADS = {"efficientnetv2-l": 330_506, "densenet201": 494_346}


def trainable(name: str) -> tuple[int, int]:
    recipe = load_recipe(name)
    classes = 196 if recipe.study == "cars" else 10
    with torch.device("meta"):
        return parameter_counts(build(recipe.network, classes))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cars-random", 23_909_636),
        ("cars-frozen", 401_604),
        ("cars-finetuned", 15_366_340),
        ("single-block-densenet201", 235_210),
        ("single-block-deit-b", 7_103_252),
        ("single-block-cait-s24", 1_775_376 + 3_850),
    ],
)
def test_the_studies_counts(name: str, count: int) -> None:
    assert trainable(name)[1] == count
    if name.startswith("cars"):
        assert trainable(name)[0] == 23_909_636


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_counts(name: str) -> None:
    recipe = load_recipe(name)
    network = name.removeprefix("single-block-paper-")
    biases = 8192 if network == "resnet152v2" else 0
    ours = trainable(name)[1] - UNCOUNTED_HEADS.get(network, 0) + biases
    assert ours == recipe.reported["parameters"]


def test_the_paper_has_ten_networks() -> None:
    assert len(PAPER) == len(study_recipes("single-block-paper", "full")) == 10


def test_smoke_needs_no_weights() -> None:
    for name in recipe_names():
        recipe = load_recipe(name, "smoke")
        if recipe.network.name == "backbone":
            assert recipe.network.options["weights"] == "none", name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train four systems of the study cars at smoke size, on generated pictures."""
    folder = tmp_path_factory.mktemp("cars")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        # the first one trains those that it starts from, too
        for name in ("cars-lite0-framed", "cars-lite0-svm"):
            run(load_recipe(name, "smoke"))
    return folder / "models"


def test_the_recipes_that_it_starts_from_are_trained_first(models: Path) -> None:
    made = {path.name for path in models.iterdir()}
    parts = ("frozen", "crops", "framed", "svm")
    expected = {f"cars-lite0-{part}-smoke" for part in parts}
    assert made == expected
    frozen = Artifact.open("cars-lite0-frozen-smoke", models).manifest
    assert frozen.parameters is not None
    assert frozen.parameters.trainable == 1280 * 196 + 196


def test_fine_tuning_starts_from_its_head(models: Path) -> None:
    recipe = load_recipe("cars-lite0-crops", "smoke")
    network = build(recipe.network, 196)
    frozen = Artifact.open("cars-lite0-frozen-smoke", models)
    copy_head(network, frozen)
    outputs = Runtime.open(frozen).run([np.full((64, 64, 3), 90, np.uint8)])
    with torch.inference_mode():
        logits = network.head.eval()(torch.from_numpy(outputs["features"])).numpy()
    np.testing.assert_allclose(logits, outputs["logits"], rtol=1e-4, atol=1e-4)
    with pytest.raises(RecipeError, match="has no head weight"):
        copy_head(build(recipe.network, 10), frozen)


def test_a_support_vector_machine_is_served_as_any_model(models: Path) -> None:
    artifact = Artifact.open("cars-lite0-svm-smoke", models)
    assert {"kernels.csv", "kernels.png"} <= set(artifact.manifest.files)
    rows = (artifact.path / "kernels.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["linear", "poly", "rbf", "sigmoid"]
    pictures = [np.zeros((40, 90, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)]
    assert Runtime.open(artifact).run(pictures)["logits"].shape == (2, 196)
    accuracy = artifact.manifest.metric("accuracy", "test")
    assert accuracy is not None
    assert accuracy > 20 / 196  # even random features separate the generated cars to some degree


def test_the_study_compares_what_is_there(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(models))
    recipes = [r for r in study_recipes("cars", "smoke") if (models / r.artifact_name).is_dir()]
    rows = compare(recipes)
    assert {row.system for row in rows} == {path.name for path in models.iterdir()}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_recipe_that_continues_names_one_that_fits(profile: str) -> None:
    for name in recipe_names():
        recipe = load_recipe(name, profile)  # type: ignore[arg-type]
        if recipe.parent is None:
            continue
        before = load_recipe(recipe.parent, profile)  # type: ignore[arg-type]
        assert replace(before.data, name=recipe.data.name) == recipe.data
        with torch.device("meta"):
            ours, theirs = (build(r.network, 196).head.state_dict() for r in (recipe, before))
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
