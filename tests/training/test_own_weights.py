"""The listing of pre-trained weights, and runs that are given a file of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from torch import nn

from tests.commands import Done, run_in_process
from training.__main__ import main
from training.networks.weight_places import find, place, published
from training.own_weights import take_weights
from training.recipe import load_recipe, load_recipes

Train = Callable[..., Done]
FULL = {recipe.name: recipe.network for recipe in load_recipes("full")}


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VITRINE_WEIGHTS", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return lambda *arguments: run_in_process(main, "training", *arguments)


def write(model: nn.Module, path: Path) -> str:
    torch.save(model.state_dict(), path)
    return str(path)


def test_the_listing_says_where_weights_are(train: Train, tmp_path: Path) -> None:
    def listed() -> dict[str, dict[str, Any]]:
        done = train("weights", "--profile", "full", "--json")
        assert done.status == 0, done.err
        return {row["network"]: row for row in json.loads(done.out)}

    rows = listed()
    named = {name for row in rows.values() for name in row["recipes"]}
    assert named == {n for n, w in FULL.items() if w.options.get("weights", "none") != "none"}
    lite = rows["tf_efficientnet_lite0"]
    assert (lite["found"], lite["sha256"], lite["place"]) == ("package", "57934424", None)
    resnet = rows["resnet50.tv_in1k"]
    assert resnet["source"].startswith("https://huggingface.co/timm/resnet50.tv_in1k/")
    assert (resnet["licence"], resnet["parameters"]) == ("bsd-3-clause", 23_508_032)
    assert (resnet["found"], resnet["bytes"]) == (None, None)
    assert rows["vgg19"]["sha256"] == "dcbb9e9d"
    assert rows["resnetv2_152"]["source"] is None

    (tmp_path / "weights").mkdir()
    Path(resnet["place"]).write_bytes(b"12345")
    cache = tmp_path / "torch" / "checkpoints" / Path(rows["vgg19"]["source"]).name
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"123")
    rows = listed()
    assert (rows["resnet50.tv_in1k"]["found"], rows["resnet50.tv_in1k"]["bytes"]) == ("file", 5)
    assert (rows["vgg19"]["found"], rows["vgg19"]["path"]) == ("cache", str(cache))
    shown = train("weights", "cars-frozen", "--profile", "full").out
    assert "found    file: weights/timm-resnet50.tv_in1k.safetensors" in shown
    assert "vgg19" not in shown
    assert "no weights" in train("weights", "mnist-relu-cross-entropy-sgd").out


def test_weights_in_the_cache_of_the_hub_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--resnet50.tv_in1k"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").write_bytes(b"1")
    assert find("timm", "resnet50.tv_in1k") == ("cache", snapshot / "model.safetensors")


RECIPE = """
title: A small network
data: {name: synthetic/objects, validation: 200}
network: {name: backbone, options: {model: resnet18, weights: imagenet, train: head}}
fixed_size: [32, 32]
epochs: 1
batch_size: 64
optimizer: {name: adam, lr: 1.0e-3}
"""


def test_a_run_takes_a_file_and_keeps_it_for_the_next_one(train: Train, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(RECIPE)
    file = write(torchvision.models.resnet18(), tmp_path / "mine.pth")
    run = ("run", "own.yaml", "--profile", "full")
    done = train(*run, "--weights", file)
    assert done.status == 0, done.err
    kept = place("timm", "resnet18", ".pth")
    assert "copied to weights/timm-resnet18.pth" in done.err
    assert kept.read_bytes() == Path(file).read_bytes()
    assert "up to date" in train(*run).out  # the file is no setting of the recipe
    assert "there already" in take_weights(load_recipe("own.yaml", "full"), Path(file))
    different = write(torchvision.models.resnet18(), tmp_path / "different.pth")
    refused = train(*run, "--weights", different, "--force")
    assert refused.status == 1
    assert "holds other weights than" in refused.err
    assert kept.read_bytes() == Path(file).read_bytes()
    assert sorted(path.name for path in kept.parent.iterdir()) == [kept.name]


def test_a_run_refuses_files_that_it_cannot_use(train: Train, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(RECIPE)
    file = write(timm.create_model("resnet34"), tmp_path / "deeper.pth")
    run = ("run", "own.yaml", "--profile", "full")
    for given, reason in ((file, "unknown (layer"), ("missing.pth", "cannot be read")):
        done = train(*run, "--weights", given)
        assert done.status == 1
        assert reason in done.err
        assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "weights").exists()
    taken = train("run", "single-block-lite0", "--profile", "cpu", "--weights", file)
    assert taken.status == 1
    assert "its weights are 'package'" in taken.err


def test_a_file_that_cannot_be_copied_ends_in_one_line(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text(RECIPE)
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("VITRINE_WEIGHTS", "taken/below")
    file = write(timm.create_model("resnet18"), tmp_path / "mine.pth")
    done = train("run", "own.yaml", "--profile", "full", "--weights", file)
    assert done.status == 1
    assert "cannot be copied to taken/below/timm-resnet18.pth" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_is_published_needs_no_network() -> None:
    assert published("timm", "dm_nfnet_f6").licence == "apache-2.0"
    assert published("timm", "resnetv2_152").url is None
