import pytest
import torch
from torch import nn

from training.networks import build, parameter_counts
from training.recipe import RecipeError
from training.settings import Network
from training.status import code_hash


def rung(name: str) -> Network:
    return Network("ladder", {"rung": name})


# rung A by hand: (3*9+1)*5 + (5*9+1)*5 + (80+1)*10; the study's count is wrong
@pytest.mark.parametrize(("name", "count"), [("A", 1180), ("GAP", 461_150)])
def test_parameter_counts(name: str, count: int) -> None:
    assert parameter_counts(build(rung(name), 10)) == (count, count)


@pytest.mark.parametrize("name", ["A", "B", "C", "D", "E", "F", "G", "GAP"])
def test_every_rung_takes_cifar_pictures(name: str) -> None:
    network = build(rung(name), 10).eval()
    images = torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, 10)
    assert network.head(network.trunk(images)).equal(network(images))


def test_gap_takes_any_size() -> None:
    network = build(rung("GAP"), 10).eval()
    for height, width in ((8, 8), (20, 32), (97, 131)):
        assert network(torch.rand(1, 3, height, width)).shape == (1, 10)


def test_batch_norm_comes_after_the_activation() -> None:
    kinds = [type(layer).__name__ for layer in build(rung("F"), 10).trunk.children()]
    assert kinds[:7] == ["Conv2d", "ReLU", "BatchNorm2d"] * 2 + ["MaxPool2d"]


@pytest.mark.parametrize("network", [Network("none"), rung("Z"), Network("ladder", {"x": 1})])
def test_an_unknown_network_is_refused(network: Network) -> None:
    with pytest.raises(RecipeError):
        build(network, 10)


def test_code_hash_is_of_the_source() -> None:
    assert code_hash(rung("A")) == code_hash(rung("GAP"))
    assert len(code_hash(rung("A"))) == 64


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("plain", 7_771_658),
        ("spatial-attention", 7_774_226),
        ("channel-attention", 7_901_354),
        ("residual", 7_935_498),
        ("residual-depthwise", 1_139_338),
        ("grouped-bottleneck", 752_266),
    ],
)
def test_building_blocks_have_the_studys_parameter_counts(kind: str, count: int) -> None:
    network = build(Network("blocks", {"kind": kind}), 10)
    assert parameter_counts(network) == (count, count)
    assert network.eval()(torch.rand(1, 3, 20, 33)).shape == (1, 10)


def test_perceptron() -> None:
    network = build(Network("mlp", {"activation": "sigmoid"}), 10)
    assert parameter_counts(network)[0] == 784 * 100 + 100 + 100 * 50 + 50 + 50 * 10 + 10
    assert network(torch.rand(3, 3, 28, 28)).shape == (3, 10)


def test_fast_whitens_what_it_saw() -> None:
    torch.manual_seed(0)
    network = build(Network("fast"), 10).eval()
    smooth = nn.functional.interpolate(torch.randn(64, 3, 9, 9), size=32, mode="bilinear")
    network.initialise(smooth)
    responses = network.trunk.whiten(smooth)[:, :12].permute(1, 0, 2, 3).flatten(1)  # type: ignore[operator,union-attr]
    covariance = responses @ responses.T / responses.shape[1]
    assert (covariance - torch.diag(covariance.diag())).abs().max() < 0.05
    assert network(torch.rand(2, 3, 20, 50)).shape == (2, 10)
