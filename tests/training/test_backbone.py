from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo
from torch import nn

from training.networks import Classifier, build, parameter_counts
from training.networks.weights import WeightsError, package_state, read_state
from training.recipe import RecipeError
from training.settings import Network

LITE0 = "tf_efficientnet_lite0"


def made(model: str, classes: int = 10, **options: Any) -> Classifier:
    return build(Network("backbone", {"model": model, **options}), classes)


@pytest.mark.parametrize(
    ("model", "train", "classes", "total", "trainable"),
    [
        ("resnet50", "all", 196, 23_909_636, 23_909_636),
        ("resnet50", "head", 196, 23_909_636, 401_604),
        ("resnet50", "last-stage", 196, 23_909_636, 15_366_340),
        ("resnet50", "layer4", 196, 23_909_636, 15_366_340),
        ("densenet201", "features.denseblock4.denselayer16", 10, 18_112_138, 235_210),
        ("deit_base_distilled_patch16_224", "blocks.11", 10, 85_815_572, 7_103_252),
        ("cait_s24_224", "blocks.0", 10, 46_535_050, 1_775_376 + 3_850),
        ("cait_s24_224", "blocks.23", 10, 46_535_050, 1_775_376 + 3_850),
        (LITE0, "last-block", 10, 3_383_818, 1_030_410),
    ],
)
def test_the_studies_parameter_counts(
    model: str, train: str, classes: int, total: int, trainable: int
) -> None:
    with torch.device("meta"):
        assert parameter_counts(made(model, classes, train=train)) == (total, trainable)


def test_last_block_and_last_stage_are_the_librarys() -> None:
    with torch.device("meta"):
        blocks = {name: made(name, train="last-block") for name in ("resnet50", "densenet201")}
        stage = made("swin_base_patch4_window7_224", train="last-stage")
    trained = {n: {k for k, w in b.trunk.named_parameters() if w.requires_grad}
               for n, b in blocks.items()}  # fmt: skip
    assert {k.rsplit(".", 2)[0] for k in trained["resnet50"]} >= {"model.layer4.2"}
    assert not any("layer4.1" in k for k in trained["resnet50"])
    assert {k.split(".")[-2] for k in trained["densenet201"]} >= {"norm5", "conv2"}
    swin = {k for k, w in stage.trunk.named_parameters() if w.requires_grad}
    assert "model.norm.weight" in swin
    assert not any("layers.2" in k for k in swin)


def test_real_photographs_get_sensible_classes() -> None:
    network = timm.create_model(LITE0).eval()
    network.load_state_dict(package_state())
    names = ImageNetInfo()
    for file, words in (("flower.jpg", "daisy|vase|petal"), ("china.jpg", "palace|stupa|monaster")):
        picture = Image.fromarray(load_sample_image(file)).resize((224, 224))
        pixels = (torch.from_numpy(np.array(picture)).float() / 255 - 0.5) / 0.5
        with torch.inference_mode():
            scores = network(pixels.permute(2, 0, 1)[None])[0].softmax(0)
        best = [names.index_to_description(int(i)) for i in scores.topk(3).indices]
        assert any(word in said for word in words.split("|") for said in best), best


def test_the_trunk_has_the_packages_weights() -> None:
    network = made(LITE0, weights="package", train="head")
    network.initialise(torch.zeros(1, 3, 8, 8))
    assert network.trunk.model.conv_head.weight.equal(  # type: ignore[union-attr]
        package_state()["conv_head.weight"]
    )


def test_frozen_layers_stay_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    network = made("resnet18", train="layer4").train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(torch.rand(4, 3, 64, 64))
    moved = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    assert moved
    assert all(key.startswith("trunk.model.layer4.") for key in moved)
    assert not any(m.training for m in network.eval().modules())


def test_everything_trains_in_training_mode() -> None:
    network = made("resnet18").train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(m.training for m in norms)


def test_two_heads_learn_apart_and_answer_together() -> None:
    network = made("deit_tiny_distilled_patch16_224", train="blocks.11", arguments={"img_size": 32})
    images = torch.rand(2, 3, 32, 32)
    assert network.train()(images).shape == (2, 2, 10)
    features = network.eval().trunk(images)
    heads = list(network.head.heads)  # type: ignore[arg-type]
    both = [head(part) for head, part in zip(heads, features.chunk(2, 1), strict=True)]
    torch.testing.assert_close(network(images), (both[0] + both[1]) / 2)
    network.head.average = False
    torch.testing.assert_close(network(images), both[0])
    assert network.train().trunk.tokens == 2


def test_local_weights_are_checked_by_hash(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = timm.create_model("resnet18").state_dict()
    save_file(state, path)
    options = {"weights": str(path), "train": "head"}
    network = made("resnet18", **options)
    network.initialise(torch.zeros(1))
    assert network.trunk.model.conv1.weight.equal(state["conv1.weight"])  # type: ignore[union-attr]
    with pytest.raises(WeightsError, match="is not the expected"):
        made("resnet18", **options, sha256="0" * 64).initialise(torch.zeros(1))
    with pytest.raises(WeightsError, match="not the weights of this network"):
        made("resnet34", **options).initialise(torch.zeros(1))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_ends_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = {"a": torch.rand(100)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert read_state(path)["a"].equal(state["a"])
    content = path.read_bytes()
    for damaged in (b"", b"nothing", content[:50], content[: len(content) // 2], b"\xff" + content):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError) as error:
            read_state(path)
        assert "\n" not in str(error.value)


def test_a_pickled_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(WeightsError, match="damaged, or neither"):
        read_state(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="not a state dict"):
        read_state(path)


def test_without_a_network_it_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no server listens at this address
    with pytest.raises(WeightsError, match="download https://huggingface") as error:
        made("resnet18", weights="imagenet").initialise(torch.zeros(1))
    assert f"put it at {tmp_path}/timm-resnet18.safetensors" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="vgg11-"):
        made("vgg11", library="torchvision", weights="imagenet").initialise(torch.zeros(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet999"}, "timm has no network"),
        ({"model": "resnet999", "library": "torchvision"}, "torchvision has no classifier"),
        ({"model": "resnet18", "library": "keras"}, "library 'keras' is unknown"),
        ({"model": "resnet18", "train": "layer9"}, "no module 'layer9'"),
        ({"model": "resnet18", "library": "torchvision", "train": "last-block"}, "name the mod"),
    ],
)
def test_unknown_parts_are_named(options: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(RecipeError, match=message):
        build(Network("backbone", options), 10)
