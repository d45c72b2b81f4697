"""`vitrine train`: which command runs, recipes of files, and the recipe that `init` writes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from artifacts import Artifact
from artifacts.artifact import FLOAT16_FILE, MODEL_FILE
from artifacts.atlas import ATLAS_FILE, SHEET_FILE
from artifacts.providers import Float16Record, ProviderRecord
from tests.commands import Done, run_in_process
from tests.graphs import with_atlas
from training.__main__ import main
from training.commands import group
from training.recipe import RECIPE_FILE
from training.recipe_template import choose_sizes, data_name, model_name

ROOT = Path(__file__).parents[2]
Train = Callable[..., Done]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: run_in_process(main, "training", *arguments)


def photographs(folder: Path, *classes: str, size: tuple[int, int] = (96, 64)) -> None:
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@click.command()
@click.argument("pictures")
@click.option("--name")
def stand_in(pictures: str, name: str) -> None:
    """Stand in for the command that trains on pictures."""
    click.echo(f"{pictures} as {name}")


def test_pictures_are_given_to_their_command(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "PICTURES", f"{__name__}:stand_in")
    for name in ("photos", "list"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos.csv").write_text("path,label\n")
    for typed in ("./photos", "photos", tmp_path / "photos", "photos.csv", "./list"):
        done = train(typed, "--name", "pets")
        assert (done.status, done.out) == (0, f"{typed} as pets\n"), done.err
    assert "recipe" in train("list").out, "a command goes before a folder of its name"
    helped = train("photos", "--help")
    assert helped.status == 0
    assert "python -m training [OPTIONS] PICTURES" in " ".join(helped.out.split())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("./no", "neither a command nor an existing folder or table"),
        ("lits", "did you mean list"),
        ("my.yaml", "train it by: vitrine train run my.yaml"),
    ],
)
def test_what_is_no_command_is_told(typed: str, said: str, train: Train, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("title: x\n")
    done = train(typed)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert said in done.err


def test_help_shows_both_usages(train: Train) -> None:
    shown = train("--help").out
    assert "python -m training [OPTIONS] COMMAND [ARGS]..." in shown
    assert "python -m training PICTURES --name NAME [OPTIONS]" in shown


def test_a_listing_fits_eighty_columns_with_a_line_for_each_recipe(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VITRINE_ARTIFACTS")
    listed = json.loads(train("list", "--profile", "cpu", "--json").out)
    lines = train("list", "--profile", "cpu").out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    for recipe in listed:
        row = next(row for row in rows if row and row[0] == recipe["name"])
        assert row[1:3] == [recipe["data"]["name"], str(recipe["epochs"])]
        assert " ".join(row[3:]) == recipe["reason"].partition(" (")[0]
    assert any(recipe["current"] for recipe in listed)


def test_init_writes_a_recipe_that_trains_as_it_is(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs(tmp_path / "My Birds", "owl: snowy", "wren")
    done = train("init", "My Birds")
    assert done.status == 0, done.err
    assert "vitrine train run my-birds.yaml" in done.out
    text = (tmp_path / "my-birds.yaml").read_text()
    recipe = yaml.safe_load(text)
    assert recipe["data"]["name"] == "image_folder/./My Birds"
    assert recipe["data"]["size"] == [80, 120]
    words = " ".join(text.replace("#", "").split())
    assert "width of 96 px and height of 64 px" in words
    refused = train("init", "My Birds")
    assert (refused.status, "--force" in refused.err) == (1, True)
    assert (tmp_path / "my-birds.yaml").read_text() == text
    assert train("init", "My Birds", "--force").status == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the folder of the file counts, not this one
    shown = json.loads(train("show", "../my-birds.yaml", "--json").out)
    assert shown["data"]["name"] == f"image_folder/{tmp_path}/My Birds"
    ran = train("run", "../my-birds.yaml", "--profile", "smoke")
    assert ran.status == 0, ran.err
    changes = ["--set", "epochs=1", "--set", "network.options.weights=none", "--name", "quick"]
    ran = train("run", "../my-birds.yaml", "--profile", "cpu", *changes)
    assert ran.status == 0, ran.err
    artifact = Artifact.open("quick", tmp_path / "models")
    assert artifact.manifest.classes == ("owl: snowy", "wren")
    assert artifact.manifest.run is not None
    assert artifact.manifest.run.command.startswith("python -m training run ../my-birds.yaml --pro")
    (tmp_path / "my-birds.yaml").unlink()
    assert yaml.safe_load((artifact.path / RECIPE_FILE).read_text())["epochs"] == 1
    again = train("reference", "quick")
    assert again.status == 0, again.err
    halved = train("halve", "quick")
    assert "half precision already" in halved.err


def test_a_recipe_of_a_file_is_up_to_date_until_it_changes(train: Train, tmp_path: Path) -> None:
    text = (ROOT / "training" / "recipes" / "mnist.yaml").read_text()
    (tmp_path / "own.yaml").write_text(text)
    name = "own.yaml:relu-cross-entropy-sgd"
    asked = ("run", name, "--profile", "smoke")
    assert train(*asked).status == 0
    assert "up to date" in train(*asked).out
    listed = json.loads(train("list", name, "--profile", "smoke", "--json").out)
    assert [(row["name"], row["current"]) for row in listed] == [
        ("own-relu-cross-entropy-sgd", True)
    ]
    every = json.loads(train("list", "own.yaml", "--profile", "smoke", "--json").out)
    assert len(every) > 1
    assert sum(row["current"] for row in every) == 1
    (tmp_path / "own.yaml").write_text(text + "seed: 5\n")
    changed = json.loads(train("list", name, "--profile", "smoke", "--json").out)
    assert [row["reason"] for row in changed] == ["the recipe changed"]


def test_an_artifact_whose_recipe_is_not_at_hand_says_so(train: Train, tmp_path: Path) -> None:
    text = (ROOT / "training" / "recipes" / "mnist.yaml").read_text()
    (tmp_path / "own.yaml").write_text(text)
    assert train("run", "own.yaml:relu-cross-entropy-sgd", "--profile", "smoke").status == 0
    artifact = Artifact.open("own-relu-cross-entropy-sgd-smoke", tmp_path / "models")
    files = artifact.contents()
    del files[RECIPE_FILE]
    artifact.rewrite(artifact.manifest, files)
    for command in ("reference", "halve"):
        refused = train(command, artifact.name)
        assert (refused.status, refused.err.count("\n")) == (1, 1)
        assert "does not come with the project and is not stored as recipe.yaml" in refused.err


def test_halving_the_weights_removes_what_was_of_the_former_graph(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "training" / "recipes" / "mnist.yaml").read_text()
    (tmp_path / "own.yaml").write_text(text)
    assert train("run", "own.yaml:relu-cross-entropy-sgd", "--profile", "smoke").status == 0
    artifact = Artifact.open("own-relu-cross-entropy-sgd-smoke", tmp_path / "models")
    record = Float16Record(
        served=True,
        data="mnist:test",
        hardware="test",
        agreement=ProviderRecord(
            provider="CUDAExecutionProvider", pictures=1, difference=0.0, same=1.0, agrees=True
        ),
    )
    manifest = artifact.manifest.model_copy(update={"float16": record})
    graph = artifact.read(MODEL_FILE)
    artifact = artifact.rewrite(manifest, artifact.contents() | {FLOAT16_FILE: graph})
    with_atlas(artifact, [np.zeros((28, 28, 3), np.uint8)] * 2)

    def halved(graph: bytes, *_: object) -> bytes:
        model = onnx.load_from_string(graph)
        model.producer_name = "halved"
        return model.SerializeToString()

    monkeypatch.setattr("training.publish.halve_if_accurate", halved)
    halving = train("halve", artifact.name)
    assert halving.status == 0, halving
    assert f"removed; make one again: vitrine analyse atlas --model {artifact.name} " in halving.out
    done = Artifact.open(artifact.name, tmp_path / "models")
    assert done.read(MODEL_FILE) == halved(graph)
    assert done.manifest.float16 is None
    for name in (FLOAT16_FILE, ATLAS_FILE, SHEET_FILE):
        assert not (done.path / name).exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [("birds.txt", "ends in .yaml"), ("birds/owl/0.png/x.yaml", "cannot be written")],
)
def test_init_refuses_in_one_line(out: str, said: str, train: Train, tmp_path: Path) -> None:
    photographs(tmp_path / "birds", "owl", "wren")
    done = train("init", "birds", "--out", out)
    assert (done.status != 0, done.err.count("\n")) == (True, 1)
    assert said in done.err
    (tmp_path / "empty").mkdir()
    assert "no pictures found" in train("init", "empty").err


def test_init_names_the_data_by_the_shortest_lasting_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path / "data"))
    out = tmp_path / "work" / "my.yaml"
    named = {
        tmp_path / "data" / "birds": "image_folder/birds",
        tmp_path / "work" / "birds": "image_folder/./birds",
        tmp_path / "work" / "birds.csv": "table/./birds.csv",
        tmp_path / "birds": "image_folder/../birds",
        Path("/srv/birds"): "image_folder//srv/birds",
    }
    for pictures, expected in named.items():
        assert data_name(pictures, out) == expected
    assert model_name("Mein Mödell", []) == "mein-m-dell"
    assert model_name("cifar10-gap", ["cifar10-gap"]) == "cifar10-gap-own"
    assert model_name("猫", []) == "model"


@pytest.mark.parametrize(
    ("width", "height", "training"),
    [(4000, 3000, (256, 192)), (32, 32, (96, 96)), (150, 100, (152, 104)), (3000, 100, (448, 112))],
)
def test_sizes_suit_the_pictures(width: int, height: int, training: tuple[int, int]) -> None:
    images = [np.zeros((height, width, 3), np.uint8)] * 3
    sizes = choose_sizes(images)
    assert sizes.median == (width, height)
    assert sizes.training == training


@pytest.mark.parametrize(
    ("package", "missing"), [("training", "yaml"), ("serving", "httpx"), ("analysis", "jinja2")]
)
def test_a_module_without_its_extra_ends_in_one_line(package: str, missing: str) -> None:
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv = ['x', *sys.argv[1:]]; "
    code += f"runpy.run_module({package!r}, run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [sys.executable, "-c", code, *(["report", "--help"] if package == "analysis" else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(f"error: {missing} is not installed; install it: pip install")
