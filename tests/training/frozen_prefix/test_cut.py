from typing import Any

import pytest
import torch
from torch import nn

from training.frozen_prefix.cut import cut
from training.networks import Classifier, build
from training.recipe import RecipeError
from training.settings import Network


def made(model: str, train: str | list[str], **options: Any) -> Classifier:
    torch.manual_seed(0)
    return build(Network("backbone", {"model": model, "train": train, **options}), 10)


SMALL = {"arguments": {"img_size": 64}}
RESNETV2 = {"arguments": {"layers": [1, 1, 1, 2]}}
CAIT_TOKEN = ["blocks_token_only.1", "norm"]
COAT = ["serial_blocks4.2", "norm4", "cpe4", "crpe4"]


@pytest.mark.parametrize(
    ("model", "train", "options", "shapes"),
    [
        ("resnet50", "head", {}, [(2048,)]),
        ("resnet50", "last-stage", {}, [(1024, 4, 4)]),
        ("resnet50", "layer4.2", {}, [(2048, 2, 2)]),
        ("resnet50", "layer4", {"library": "torchvision"}, [(1024, 4, 4)]),
        # the outputs of dense block 4 so far, without their concatenation
        ("densenet201", "features.denseblock4.denselayer16", {}, [(896, 2, 2), *[(32, 2, 2)] * 15]),
        ("densenet201", ["features.denseblock4", "features.norm5"], {}, [(896, 2, 2)]),
        ("deit_base_distilled_patch16_224", "blocks.11", SMALL, [(18, 768)]),
        ("cait_s24_224", "blocks.23", SMALL, [(16, 384)]),
        ("cait_s24_224", CAIT_TOKEN, SMALL, [(16, 384), (1, 384)]),
        ("tf_efficientnet_lite0", "last-block", {}, [(192, 2, 2)]),
        ("tf_efficientnet_lite0", "blocks.3.1", {}, [(80, 4, 4)]),
        ("vgg19", ["features.28", "features.30"], {"library": "torchvision"}, [(512, 4, 4)]),
        ("resnetv2_50", ["stages.3", "norm"], RESNETV2, [(1024, 4, 4)]),
        ("tf_efficientnetv2_b0", "last-block", {}, [(192, 2, 2)]),
        ("swin_tiny_patch4_window7_224", ["layers.3.blocks.1", "norm"], SMALL, [(2, 2, 768)]),
        ("vit_tiny_patch16_224", ["blocks.11", "norm"], SMALL, [(17, 192)]),
        ("coat_lite_small", COAT, SMALL, [(5, 512)]),
        ("dm_nfnet_f0", ["stages.3.2", "final_conv"], {}, [(1536, 2, 2)]),
    ],
)
def test_prefix_and_suffix_make_the_network(
    model: str, train: str | list[str], options: dict[str, Any], shapes: list[tuple[int, ...]]
) -> None:
    network = made(model, train, **options)
    images = torch.randn(3, 3, 64, 64)
    prefix, suffix = cut(network, images)
    for mode in (True, False):
        suffix.train(mode)
        boundary = prefix(images)
        assert [tuple(tensor.shape[1:]) for tensor in boundary] == shapes
        torch.manual_seed(1)  # Swin has stochastic depth
        expected = network(images)
        torch.manual_seed(1)
        torch.testing.assert_close(suffix(*boundary), expected)
    trained = {id(w) for w in network.parameters() if w.requires_grad}
    assert {id(w) for w in suffix.graph.parameters() if w.requires_grad} == trained
    assert not any(weight.requires_grad for weight in prefix.parameters())


def test_the_suffix_learns_and_frozen_layers_behind_it_stay_as_they_are() -> None:
    network = made("densenet121", "features.denseblock4.denselayer2")
    images = torch.randn(4, 3, 64, 64)
    prefix, suffix = cut(network, images)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    boundary = prefix(images)
    suffix.train()
    optimizer = torch.optim.SGD([w for w in network.parameters() if w.requires_grad], 0.1)
    nn.functional.cross_entropy(suffix(*boundary), torch.arange(4)).backward()
    optimizer.step()
    moved = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    layer = "trunk.model.features.denseblock4.denselayer2."
    assert all(key.startswith((layer, "head.")) for key in moved)
    assert f"{layer}norm1.running_mean" in moved


def test_a_network_with_nothing_frozen_is_refused() -> None:
    with pytest.raises(RecipeError, match="no frozen layer before the first one"):
        cut(made("resnet18", "all"), torch.randn(2, 3, 64, 64))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 4, 3).requires_grad_(requires_grad=False)
        self.trained = nn.Conv2d(4, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.frozen(images)
        return self.trained(x if x.mean() > 0 else -x).mean((2, 3))


def test_code_that_cannot_be_followed_is_refused() -> None:
    network = Classifier(Branching(), nn.Linear(4, 10))
    with pytest.raises(RecipeError, match="cannot be cut"):
        cut(network, torch.randn(2, 3, 16, 16))
