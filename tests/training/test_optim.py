import pytest
from torch import nn

from training.optim import make_optimizer, rate_factor
from training.recipe import Optimizer


def test_rates() -> None:
    cosine = Optimizer(schedule="cosine", warmup=0.2)
    assert rate_factor(cosine, 0.1) == pytest.approx(0.5)
    assert rate_factor(cosine, 0.2) == pytest.approx(1.0)
    assert rate_factor(cosine, 0.6) == pytest.approx(0.5)
    assert rate_factor(cosine, 1.0) == pytest.approx(0.0)
    assert rate_factor(Optimizer(schedule="linear"), 0.25) == pytest.approx(0.75)
    assert rate_factor(Optimizer(), 0.9) == 1.0


def test_biases_and_norms_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, plain = make_optimizer(model, Optimizer(weight_decay=0.1)).param_groups
    assert ([p.ndim for p in decayed["params"]], decayed["weight_decay"]) == ([4], 0.1)
    assert ([p.ndim for p in plain["params"]], plain["weight_decay"]) == ([1, 1, 1], 0.0)


def test_frozen_weights_do_not_move() -> None:
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    groups = make_optimizer(model, Optimizer()).param_groups
    assert [len(g["params"]) for g in groups] == [0, 1]
