"""The recipes of the candidates."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from training.networks import build
from training.pictures.candidates import PARTS, Task, candidate, required_size
from training.pictures.plan import Part

TASK = Task(
    name="mine",
    title="Mine",
    data="table/runs/mine/pictures.csv",
    model="tf_efficientnet_lite0",
    weights="none",
    size=(128, 160),
    flip=True,
    pictures=320,
    seed=3,
    route=None,
    command="vitrine train mine",
)


@pytest.mark.parametrize("part", PARTS)
def test_training_keeps_batch_normalisation_as_it_is(part: Part) -> None:
    network = build(candidate(TASK, part, 5).network, 3)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    network.train()
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    after = [norm.running_mean for norm in norms if norm.running_mean is not None]
    assert norms
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    trained = {n for n, w in network.named_parameters() if w.grad is not None and w.grad.any()}
    assert any(name.startswith("head.") for name in trained)
    assert ("trunk.model.conv_stem.weight" in trained) == (part == "all")
    assert ("trunk.model.conv_head.weight" in trained) == (part != "head")


@pytest.mark.parametrize("part", PARTS)
def test_candidates_see_pictures_as_the_server_does(part: Part) -> None:
    recipe = candidate(TASK, part, 5)
    assert recipe.data.size == recipe.policy.fixed_size == (128, 160)
    assert recipe.augment.flip == "random"
    assert candidate(replace(TASK, flip=False), part, 5).augment.flip == "none"


def test_the_average_covers_a_tenth_of_the_run() -> None:
    assert candidate(TASK, "all", 10).optimizer.ema == pytest.approx(0.9)
    assert candidate(TASK, "all", 100).optimizer.ema == pytest.approx(0.99)


def test_networks_of_one_size_are_given_it() -> None:
    assert required_size("vit_tiny_patch16_224") == (224, 224)
    assert required_size("tf_efficientnet_lite0") is None
