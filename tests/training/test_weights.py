"""Files of pre-trained weights: both libraries' names, and what is refused.

All files are made of random numbers. Where two networks are compared, both libraries compute the
same from the same file, so the translation of the names is right and not only one-to-one.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from training.networks import Classifier, build
from training.networks.backbone import Backbone
from training.networks.weight_names import timm_key, torchvision_name
from training.networks.weight_places import SUFFIXES
from training.networks.weights import (
    WeightsError,
    check,
    in_names_of,
    load_weights,
    read_state,
)
from training.recipe import load_recipes
from training.settings import Network

PRETRAINED = {
    (network.options.get("library", "timm"), network.options["model"]): network
    for network in (recipe.network for recipe in load_recipes("full"))
    if network.options.get("weights") == "imagenet"
}
BOTH_NAMES = {
    "resnet50": "resnet50",
    "efficientnet_b0": "efficientnet_b0",
    "densenet201": "densenet201",
    "vit_large_patch32_224": "vit_l_32",
    "swin_base_patch4_window7_224": "swin_b",
    "vgg19": "vgg19",
}
"""timm's and torchvision's names of the recipes' networks that both have."""


def randomised(model: nn.Module) -> nn.Module:
    """Give every weight a value of its own, norms and their statistics included."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.rand(value.shape, generator=random)
            if value.ndim > 1:
                spread = value.std().clamp(min=0.02)  # some are all zeros at first
                value.add_(spread * (noise - 0.5))
            elif key.endswith(("weight", "running_var")):
                value.copy_(0.75 + noise / 2)
            else:
                value.copy_(noise / 5 - 0.1)
    return model.eval()


def measured(model: nn.Module, side: int) -> nn.Module:
    """Measure the statistics of batch norms; random ones let a deep network's signal fade away."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(2)))
    return model.eval()


def write(model: nn.Module, path: Path) -> str:
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if path.suffix == ".safetensors":  # in the order of the alphabet, unlike torch's own format
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@torch.inference_mode()
def features(model: nn.Module, side: int) -> Tensor:
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    found: Tensor = model(pixels)
    return found


def without_head(model: nn.Module) -> nn.Module:
    """Take the classifier off a network of torchvision."""
    for head in ("fc", "classifier", "heads", "head"):
        if hasattr(model, head):
            setattr(model, head, nn.Identity())
    return model


def assert_same_features(ours: nn.Module, theirs: nn.Module, side: int) -> None:
    expected = features(theirs, side)
    assert_close(features(ours, side), expected)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    spread = theirs.std(0).mean().item()  # between two pictures
    assert spread > 1e-5, "an output that does not depend on the picture would prove nothing"
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * spread)


def tiny_vit(**options: Any) -> nn.Module:
    made: nn.Module = VisionTransformer(
        img_size=64, patch_size=32, embed_dim=48, depth=3, num_heads=4, **options
    )
    return made


def tiny_swin(**options: Any) -> nn.Module:
    made: nn.Module = SwinTransformer(
        embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), **options
    )
    return made


TORCHVISION_VIT = partial(torchvision.models.VisionTransformer, 64, 32, 3, 4, 48, 192)
TORCHVISION_SWIN = partial(
    torchvision.models.SwinTransformer, [4, 4], 16, [2, 2, 2, 2], [1, 2, 4, 8], [7, 7]
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("name", "ours", "theirs", "side"),
    [
        ("resnet50.tv_in1k", None, torchvision.models.resnet50, 64),
        ("densenet201", None, torchvision.models.densenet201, 64),
        ("efficientnet_b0", None, torchvision.models.efficientnet_b0, 64),
        # of the same code as ViT-L/32 and Swin-B, whose weights would fill gigabytes
        ("vit_large_patch32_224.orig_in21k", tiny_vit, TORCHVISION_VIT, 64),
        ("swin_base_patch4_window7_224", tiny_swin, TORCHVISION_SWIN, 224),
    ],
)
def test_torchvisions_names_give_torchvisions_output(
    tmp_path: Path,
    suffix: str,
    name: str,
    ours: Callable[..., nn.Module] | None,
    theirs: Callable[[], nn.Module],
    side: int,
) -> None:
    other = measured(randomised(theirs()), side)
    path = write(other, tmp_path / f"weights{suffix}")
    make = ours or partial(timm.create_model, name)
    model = make(num_classes=0).eval()
    load_weights(model, "timm", name, path, None)
    assert_same_features(model, without_head(other), side)


def test_older_files_of_densenet_have_points_in_their_names(tmp_path: Path) -> None:
    other = measured(randomised(torchvision.models.densenet121()), 64)
    pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    state = {pattern.sub(r"\1.\2.", key): value for key, value in other.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "old.pth")
    model = timm.create_model("densenet121", num_classes=0).eval()
    load_weights(model, "timm", "densenet121", str(tmp_path / "old.pth"), None)
    assert_same_features(model, without_head(other), 64)


@pytest.mark.parametrize("name", ["vgg19", "efficientnet_b0"])
def test_timms_names_give_timms_output_in_a_network_of_torchvision(
    tmp_path: Path, name: str
) -> None:
    other = timm.create_model(name, num_classes=0 if name == "vgg19" else 1000)
    if name == "vgg19":
        other.pre_logits = nn.Identity()  # two layers of 120 million weights
    path = write(measured(randomised(other), 64), tmp_path / "weights.safetensors")
    model = in_torchvision(name)
    load_weights(model, "torchvision", name, path, None)
    expected = other.forward_features
    both = [features(m, 64) for m in (model, Pooled(expected))]
    assert_close(*both)


class Pooled(nn.Module):
    """Features of a network of timm, averaged over the picture."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, images: Tensor) -> Tensor:
        return self.compute(images).mean((2, 3))


def in_torchvision(name: str) -> nn.Module:
    built = build(Network("backbone", {"model": name, "library": "torchvision"}), 10)
    return backbone_of(built).model.eval()


def backbone_of(built: Classifier) -> Backbone:
    return next(module for module in built.modules() if isinstance(module, Backbone))


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("resnetv2_152", 64, {}),
        ("coat_lite_small", 64, {"img_size": 64}),
        ("cait_s24_224", 32, {"img_size": 32}),
        ("deit_base_distilled_patch16_224", 32, {"img_size": 32}),
        # smaller ones of the same code as EfficientNetV2-L, NFNet-F6, ViT-L/32 and Swin-B
        ("tf_efficientnetv2_b0", 64, {}),
        ("dm_nfnet_f0", 64, {}),
        ("vit_tiny_patch16_224", 32, {"img_size": 32}),
        ("swin_tiny_patch4_window7_224", 64, {"img_size": 64}),
    ],
)
def test_timms_names_give_timms_output(
    tmp_path: Path, name: str, side: int, options: dict[str, Any]
) -> None:
    other = measured(randomised(timm.create_model(name, num_classes=17, **options)), side)
    path = write(other, tmp_path / "weights.pth")
    model = timm.create_model(name, num_classes=0, **options).eval()
    load_weights(model, "timm", name, path, None)
    other.reset_classifier(0)  # type: ignore[operator]
    assert_same_features(model, other, side)


def test_the_tests_know_every_network_of_the_recipes() -> None:
    names = {timm_or_other.split(".")[0] for _, timm_or_other in PRETRAINED}
    alone = {
        "resnetv2_152",
        "tf_efficientnetv2_l",
        "dm_nfnet_f6",
        "coat_lite_small",
        "cait_s24_224",
        "deit_base_distilled_patch16_224",
    }
    assert names == alone | set(BOTH_NAMES)
    assert {name: torchvision_name(name) for name in BOTH_NAMES} == BOTH_NAMES
    assert {torchvision_name(name) for name in alone} == {None}


@pytest.mark.parametrize(("library", "name"), PRETRAINED)
def test_every_network_takes_all_weights_of_both_libraries(library: str, name: str) -> None:
    base = name.split(".", maxsplit=1)[0]
    with torch.device("meta"):  # in full size, without their memory
        model = backbone_of(build(PRETRAINED[library, name], 10)).model
        others = [timm.create_model(base, num_classes=1000)]
        if base in BOTH_NAMES:
            others.append(torchvision.models.get_model(BOTH_NAMES[base]))
    for other in others:
        state = in_names_of(model, library, name, other.state_dict())
        classifier = check(model, state, "a file", "another")
        assert any(1000 in value.shape for value in classifier.values())
        assert len(state) == len(other.state_dict()), "two weights got the same name"
        less = {key: value for key, value in state.items() if not key.endswith("weight")}
        with pytest.raises(WeightsError, match="missing"):
            check(model, less, "a file", "another")


def test_networks_that_compute_otherwise_in_torchvision_are_not_translated() -> None:
    for name in ("tf_efficientnet_b0", "tf_efficientnetv2_l", "swinv2_tiny_window8_256"):
        assert torchvision_name(name) is None
        assert timm_key(name, "features.0.0.weight") == "features.0.0.weight"


def test_a_refusal_names_the_first_few_of_each_kind(tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    for number in (1, 2):
        for layer in ("conv1", "conv2"):
            del state[f"layer{number}.0.{layer}.weight"]
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    state["layer5.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "weights.safetensors")
    model = timm.create_model("resnet18", num_classes=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_weights(model, "timm", "resnet18", str(tmp_path / "weights.safetensors"), None)
    told = str(error.value)
    assert "4 missing (layer1.0.conv1.weight, layer1.0.conv2.weight, layer2.0" in told
    assert ", ...);" in told
    assert "1 of another shape (conv1.weight: 64 x 1 x 7 x 7 instead of 64 x 3 x 7 x 7)" in told
    assert "1 unknown (layer5.weight)" in told
    assert "timm's resnet18 or torchvision's resnet18" in told
    assert "\n" not in told
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("wrapped", ["state_dict", "model"])
def test_a_training_scripts_file_holds_the_weights_deeper(tmp_path: Path, wrapped: str) -> None:
    state = {f"module.{key}": value for key, value in nn.Linear(2, 2).state_dict().items()}
    torch.save({wrapped: state, "epoch": 3}, tmp_path / "run.pth")
    assert set(read_state(tmp_path / "run.pth")) == {"weight", "bias"}


def test_a_left_out_classifier_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(timm.create_model("resnet18", num_classes=37), tmp_path / "pets.pth")
    load_weights(timm.create_model("resnet18", num_classes=0), "timm", "resnet18", path, None)
    told = capsys.readouterr().err
    assert "pets.pth: its classifier of 37 classes is left out (fc.weight, fc.bias)" in told
