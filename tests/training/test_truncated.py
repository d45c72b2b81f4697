import pytest
import timm
import torch

from training.networks import build, parameter_counts
from training.networks.weights import load_weights
from training.recipe import RecipeError
from training.settings import Network

OPTIONS = {"model": "mobilenetv2_035", "stages": 4, "channels": 8, "side": 2, "width": 5}


@torch.inference_mode()
def test_a_truncated_network_embeds_pictures_of_any_size() -> None:
    network = build(Network("truncated", OPTIONS), 10).eval()
    for side in (32, 48, 20):  # maps of 2, 3 and 2 positions a side
        images = torch.randn(3, 3, side, side)
        assert network(images).shape == (3, 5)
        assert network(images).equal(network.trunk(images)), "no head between embedding and loss"


@torch.inference_mode()
def test_each_position_has_weights_of_its_own() -> None:
    network = build(Network("truncated", OPTIONS), 10).eval()
    images = torch.randn(2, 3, 32, 32)
    before = network(images)
    network.trunk.position[:, 0, 0] = 0  # type: ignore[index, operator, union-attr]
    assert not torch.allclose(network(images), before)
    network.trunk.position[:] = 0  # type: ignore[index, operator, union-attr]
    bias = network.trunk.projection.bias  # type: ignore[union-attr]
    torch.testing.assert_close(network(images), bias.expand(2, 5))  # type: ignore[operator, union-attr]


@torch.inference_mode()
def test_its_stages_have_the_published_weights() -> None:
    options = {"model": "tf_efficientnet_lite0", "stages": 3, "weights": "package"}
    network = build(Network("truncated", options), 10)
    network.initialise(torch.zeros(1, 3, 32, 32))
    whole = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    load_weights(whole, "timm", "tf_efficientnet_lite0", "package", None)
    published = whole.state_dict()
    kept = network.trunk.state_dict()
    assert kept["blocks.2.1.conv_pwl.weight"].equal(published["blocks.2.1.conv_pwl.weight"])
    assert kept["bn1.running_var"].equal(published["bn1.running_var"])
    assert not any(key.startswith("blocks.3") for key in kept)
    assert parameter_counts(network)[0] < parameter_counts(whole)[0] / 10


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "nothing"}, "no network 'nothing'"),
        ({"model": "resnet18"}, "network.options.model: resnet18 is neither"),
        ({"stages": 9}, "network.options.stages: mobilenetv2_035 has 1 to 7 stages, not 9"),
    ],
)
def test_other_networks_and_stages_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build(Network("truncated", {**OPTIONS, **changed}), 10)
