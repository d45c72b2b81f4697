import itertools
import shlex
from pathlib import Path

import pytest
import torch

from artifacts.datasets import parse
from training.networks import build
from training.overrides import parent_recipe, with_changes
from training.recipe import PROFILES, Profile, RecipeError, load_recipe, recipe_names

MINIMAL = """
title: a test
data: {name: synthetic/objects, validation: 10}
network: {name: ladder, options: {rung: A}}
epochs: 1
batch_size: 8
"""


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_builds(name: str, profile: Profile) -> None:
    recipe = load_recipe(name, profile)
    parse(recipe.data.name)
    with torch.device("meta"):  # shapes only, because some networks have 400 million weights
        build(recipe.network, 10)
    assert (recipe.data.name.startswith("synthetic")) == (profile == "smoke")


def test_smoke_never_takes_the_real_artifacts_place() -> None:
    assert load_recipe("cifar10-gap", "smoke").artifact_name == "cifar10-gap-smoke"
    assert load_recipe("cifar10-gap", "cpu").artifact_name == "cifar10-gap"


def test_full_keeps_the_study_settings() -> None:
    recipe = load_recipe("cifar10-gap", "full")
    assert (recipe.epochs, recipe.optimizer.name, recipe.optimizer.lr) == (240, "adam", 1e-3)
    assert (recipe.data.validation, recipe.augment.flip) == (8000, "none")


def test_a_recipe_has_any_route_of_the_form() -> None:
    changed = load_recipe("cifar10-gap", "full", changes={"route": "my-birds"})
    assert changed.route == "my-birds"
    assert changed.hash == load_recipe("cifar10-gap", "full").hash


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("My birds", "route 'My birds': a route has 1 to 40 of a-z"),
        ("models", "is not 'feedback' or 'models'"),
        ("faces", "the route of embedding models"),
        (7, "route: Input should be a valid string"),
    ],
)
def test_another_route_is_refused_before_training(route: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("cifar10-gap", "full", changes={"route": route})


def write(folder: Path, text: str) -> None:
    (folder / "x.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rate: 1", "learning_rate"),
        ("epochs: many", "epochs"),
        ("optimizer: {lr: fast}", "optimizer.lr"),
        ("profiles: {gpu: {}}", "gpu"),
        ("data: {name: cifar10}", "data.validation"),
        ("[", "not YAML"),
        ("loss: {name: triplet}", "validation_choice: classes"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: str, message: str) -> None:
    key = change.partition(":")[0]
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(key + ":")]
    write(tmp_path, "\n".join([*lines, change]))
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe("x", "full", tmp_path)
    assert "\n" not in str(error.value) or "YAML" in str(error.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="cifar10-gap"):
        load_recipe("cifar11")


def test_hash_changes_with_what_decides_the_result_alone(tmp_path: Path) -> None:
    def hashed(text: str) -> str:
        write(tmp_path, text)
        return load_recipe("x", "full", tmp_path).hash

    first = hashed(MINIMAL)
    assert hashed(MINIMAL.replace("a test", "another title")) == first
    assert hashed(MINIMAL + "seed: 0\n") == first
    assert hashed(MINIMAL + "seed: 1\n") != first
    assert hashed(MINIMAL + "optimizer: {lr: 0.002}\n") != first


def test_a_grid_makes_every_combination_and_variants_lay_over_it(tmp_path: Path) -> None:
    grid = "grid: {loss.name: [nll, cross-entropy], optimizer.name: [sgd, adam]}\n"
    write(tmp_path, MINIMAL + grid + "variants: {nll-adam: {epochs: 7}, extra: {seed: 5}}\n")
    names = [f"x-{v}" for v in ("nll-sgd", "nll-adam", "cross-entropy-sgd", "cross-entropy-adam")]
    assert recipe_names(tmp_path) == [*names, "x-extra"]
    recipe = load_recipe("x-nll-adam", "full", tmp_path)
    assert (recipe.loss.name, recipe.optimizer.name, recipe.epochs) == ("nll", "adam", 7)
    assert load_recipe("x-nll-sgd", "full", tmp_path).epochs == 1
    assert load_recipe("x-extra", "full", tmp_path).seed == 5


def test_the_profile_does_not_decide_the_hash(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "profiles: {smoke: {epochs: 3}}\n")
    full, cpu, smoke = (load_recipe("x", profile, tmp_path).hash for profile in PROFILES)
    assert full == cpu
    assert smoke != cpu


@pytest.mark.parametrize("text", ["no", "false", '"no"'])
def test_precision_no_is_not_a_boolean(text: str) -> None:
    changed = with_changes("cars-lite0-frozen", "cpu", [f"precision={text}"], "mine")
    assert changed.precision == "no"


def test_changed_data_reach_the_recipe_of_the_head() -> None:
    changes = ["data.name=image_folder/vögel 🐦", "data.size=[64, 64]", "epochs=2", "route=null"]
    child = with_changes("cars-lite0-crops", "cpu", changes, "birds")
    parent = parent_recipe(child)
    assert parent is not None
    assert (parent.name, parent.data) == ("birds-head", child.data)
    assert (parent.route, parent.study, parent.default) == (None, None, False)
    words = shlex.split(parent.command)[4:]
    settings = [word for before, word in itertools.pairwise(words) if before == "--set"]
    again = with_changes(words[0], "cpu", settings, words[-1])
    assert again == parent, "the command that its card names makes it again"
    frozen = load_recipe("cars-lite0-frozen", "cpu")
    crops = load_recipe("cars-lite0-crops", "cpu")
    framed = load_recipe("cars-lite0-framed", "cpu")
    assert parent_recipe(load_recipe("cars-lite0-finetuned", "cpu")) == framed
    assert parent_recipe(framed) == crops
    assert parent_recipe(crops) == frozen
    assert parent_recipe(frozen) is None
