"""Recipes in files of one's own: how they are named, what their paths mean, and what is refused."""

from pathlib import Path

import pytest

from training.overrides import parent_recipe, with_changes
from training.recipe import RECIPE_FILE, RecipeError, load_recipe, load_recipes_of, load_stored

TEXT = """\
title: my model
data:
  name: image_folder/./pictures
  validation: 10
network:
  name: ladder
  options: {rung: GAP}
epochs: 1
batch_size: 8
optimizer:
  name: adam
profiles:
  cpu:
    epochs: 2
"""
VARIANTS = """\
variants:
  head:
    seed: 1
  whole:
    head_from: head
"""


def write(folder: Path, text: str = TEXT, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def refusal(path: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(path, "cpu")
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_file_is_read_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    recipe = load_recipe(path, "cpu")
    assert (recipe.name, recipe.epochs) == ("mine", 2)
    assert recipe.data.name == f"image_folder/{tmp_path}/pictures"
    assert recipe.command == f"python -m training run {path} --profile cpu"
    monkeypatch.chdir(tmp_path)
    here = load_recipe("mine.yaml", "cpu")
    assert (here.data, here.hash, here.file) == (recipe.data, recipe.hash, recipe.file)
    assert here.command == "python -m training run mine.yaml --profile cpu"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe("../mine.yaml", "cpu").data == recipe.data
    assert load_recipe(path, "cpu", changes={"epochs": 5}).epochs == 5


def test_paths_are_relative_to_the_file_only_if_they_say_so(tmp_path: Path) -> None:
    backbone = "{model: tf_efficientnet_lite0, weights: ./w.safetensors}"
    text = TEXT.replace("ladder", "backbone").replace("{rung: GAP}", backbone)
    text += "evaluation: {people: [faces/../people, faces/orl]}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.network.options["weights"] == f"{tmp_path}/w.safetensors"
    assert recipe.evaluation.people == (f"faces/{tmp_path.parent}/people", "faces/orl")
    for name in ("image_folder/pets", "image_folder//srv/pets", "cifar10"):
        plain = load_recipe(write(tmp_path, TEXT.replace("image_folder/./pictures", name)))
        assert plain.data.name == name


def test_a_file_and_its_pictures_may_be_moved_together(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first, second = (load_recipe(write(tmp_path / folder)) for folder in ("a", "b"))
    assert first.data != second.data
    assert first.hash == second.hash
    other = load_recipe(write(tmp_path / "b", TEXT.replace("pictures", "others")))
    assert other.hash != first.hash


def test_variants_are_named_after_a_colon(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT + VARIANTS)
    assert [r.name for r in load_recipes_of(path)] == ["mine-head", "mine-whole"]
    whole = load_recipe(f"{path}:whole", "cpu")
    assert (whole.name, whole.seed) == ("mine-whole", 0)
    head = parent_recipe(whole)
    assert head == load_recipe(f"{path}:head", "cpu")
    assert "several recipes" in refusal(path)
    assert "did you mean whole?" in refusal(f"{path}:wole")
    assert "has no variants" in refusal(f"{write(tmp_path)}:whole")


def test_a_head_may_come_from_the_project_or_another_file(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "other.yaml")
    for source, name in (("./other.yaml", "other"), ("mine-head", "mine-head")):
        text = TEXT + VARIANTS.replace("head_from: head", f"head_from: {source}")
        parent = parent_recipe(load_recipe(f"{write(tmp_path, text)}:whole", "cpu"))
        assert parent is not None
        assert parent.name == name
    text = TEXT.replace("image_folder/./pictures", "cifar10") + "head_from: cifar10-gap\n"
    parent = parent_recipe(load_recipe(write(tmp_path, text), "cpu"))
    assert parent is not None
    assert (parent.name, parent.data.validation) == ("mine-head", 10)
    refused = refusal(write(tmp_path, TEXT + "head_from: cifar10-gab\n"))
    assert "mine.yaml, line 15: head_from: 'cifar10-gab' is neither" in refused
    assert "did you mean cifar10-gap" in refused
    own = write(tmp_path, TEXT + VARIANTS.replace("head_from: head", "head_from: whole"))
    assert "line 19: head_from: a recipe cannot start from its own head" in refusal(f"{own}:whole")


def test_changes_of_a_recipe_of_a_file_have_a_command(tmp_path: Path) -> None:
    path = write(tmp_path)
    changed = with_changes(path, "cpu", ["seed=3"], "third")
    assert (changed.name, changed.seed) == ("third", 3)
    assert changed.command.endswith(f"run {path} --profile cpu --set seed=3 --name third")


def test_the_name_of_the_model_is_valid_and_free(tmp_path: Path) -> None:
    assert "'My Model' is not a valid name" in refusal(write(tmp_path, TEXT, "My Model.yaml"))
    assert load_recipe(write(tmp_path, TEXT + "name: ok\n", "My Model.yaml")).name == "ok"
    taken = refusal(write(tmp_path, TEXT + "name: cifar10-gap\n"))
    assert "mine.yaml, line 15: name: 'cifar10-gap' is a recipe of the project" in taken
    wrong = TEXT + "variants: {a: {name: other}}\n"
    assert "has no name of its own" in refusal(f"{write(tmp_path, wrong)}:a")


def test_the_settings_stored_in_an_artifact_are_the_same(tmp_path: Path) -> None:
    for recipe in (load_recipe(write(tmp_path), "cpu"), load_recipe("cars-lite0-finetuned", "cpu")):
        stored = tmp_path / RECIPE_FILE
        stored.write_text(recipe.as_text(), encoding="utf-8")
        again = load_stored(stored, "cpu")
        settings = ("data", "network", "optimizer", "augment", "epochs", "name", "evaluation")
        for setting in settings:
            assert getattr(again, setting) == getattr(recipe, setting)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("optimizer:", "optimzer:", "line 10: optimzer: there is no such setting; did you mean op"),
        (
            "  name: adam",
            "  nme: adam",
            "line 11: optimizer.nme: there is no such setting; did you",
        ),
        ("name: adam", "name: adm", "line 11: optimizer.name: 'adm' is not allowed; did you mean"),
        ("name: adam", "name: adm", "Use one of: adam, adamw, sgd, muon."),
        ("    epochs: 2", "    epochs: many", "line 14: epochs: Input should be a valid integer"),
        ("  cpu:", "  gpu:", "line 13: profiles.gpu: this profile is unknown; use full, cpu, sm"),
        ("  validation: 10\n", "", "line 2: data.validation: this setting is missing."),
        ("  validation: 10", "  mean: [1, 2]\n  validation: 1", "line 4: data.mean.2: value nu"),
        ("  name: ladder", "  name: lader", "line 6: network.name: 'lader' is unknown; did you me"),
        ("rung: GAP", "rnug: GAP", "line 7: network.options.rnug: the network ladder has no such"),
        ("{rung: GAP}", "{}", "line 7: network.options: the network ladder needs the option rung"),
        ("optimizer:\n  name: adam", "optimizer: adam", "line 10: optimizer: settings are expe"),
        ("epochs: 1\n", "epochs: 1\nepochs: 2\n", "line 9: epochs is set in line 8 already"),
        ("  name: adam", "\tname: adam", "line 11, column 1: the file is not YAML: found chara"),
        ("  name: adam", "\tname: adam", "this line has a tab"),
        ("epochs: 1", "epochs: [1", "the file is not YAML: "),
        ("epochs: 1", "1: 1", "line 8: the key 1 is not text"),
        ("profiles:\n  cpu:", "profiles:\n  cpu: 5\n  smoke:", "line 13: profiles.cpu: settings a"),
        ("epochs: 1", "epochs: 1\nprofile: cpu", "line 9: profile: there is no such setting; did"),
        ("epochs: 1", "epochs: 1\nroute: No way", "line 9: route: route 'No way': a route has 1"),
        ("epochs: 1", "epochs: 1\ngrid: 5", "line 9: grid: lists of values are expected"),
        ("epochs: 1", "epochs: 1\nvariants: [a]", "line 9: variants: settings are expected"),
        ("epochs: 1", "epochs: 2024-13-41", "the file is not YAML"),
        (TEXT, "- a\n", "must be a YAML mapping"),
        (TEXT, "", "must be a YAML mapping"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    assert before in TEXT
    refused = refusal(write(tmp_path, TEXT.replace(before, after)))
    assert refused.startswith(f"{tmp_path}/mine.yaml")
    assert message in refused


def test_the_line_is_that_of_the_layer_that_counts(tmp_path: Path) -> None:
    text = TEXT + "variants: {}\n"
    text = text.replace("variants: {}\n", "variants:\n  a:\n    epochs: few\n  b: {}\n")
    path = write(tmp_path, text.replace("    epochs: 2", "    seed: 2"))
    assert "line 17: epochs:" in refusal(f"{path}:a")
    assert load_recipe(f"{path}:b", "cpu").seed == 2
    grid = TEXT.replace("name: adam", "lr: 0.1") + "grid:\n  optimizer.name: [sgd, slow]\n"
    assert "line 16: optimizer.name: 'slow' is not" in refusal(f"{write(tmp_path, grid)}:slow")
    with pytest.raises(RecipeError, match=r"^mine: epochs: Input") as error:
        load_recipe(write(tmp_path), "cpu", changes={"epochs": "few"})
    assert "line" not in str(error.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(str(tmp_path / "no.yaml"))
    assert "train init" in refusal("./no")
    assert "Is a directory" in refusal(f"{tmp_path}/")
    (tmp_path / "binary.yaml").write_bytes(b"title: a\nseed: \xff\n")
    assert "binary.yaml, line 2: the recipe file must be text" in refusal(f"{tmp_path}/binary.yaml")
    deep = write(tmp_path, "a: " + "[" * 5000 + "]" * 5000)
    assert "not YAML" in refusal(deep)


def test_muon_refuses_a_share_for_the_trunk(tmp_path: Path) -> None:
    text = TEXT.replace("name: adam", "name: muon\n  trunk_share: 0.5")
    assert "line 12: optimizer.trunk_share: the optimizer muon" in refusal(write(tmp_path, text))


def test_settings_of_a_file_are_plain_data(tmp_path: Path) -> None:
    text = TEXT.replace("epochs: 1", "epochs: !!python/object/apply:os.system [false]")
    assert "not YAML" in refusal(write(tmp_path, text))
