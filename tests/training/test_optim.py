import pytest
from torch import nn

from training.optim import make_optimizer, rate_factor
from training.settings import Optimizer


def test_rates() -> None:
    cosine = Optimizer(schedule="cosine", warmup=0.2)
    factors = [rate_factor(cosine, done, 10) for done in (1, 2, 6, 10)]
    assert factors == pytest.approx([0.5, 1.0, 0.5, 0.0])
    assert rate_factor(Optimizer(schedule="linear"), 2.5, 10) == pytest.approx(0.75)
    assert rate_factor(Optimizer(schedule="exponential", gamma=0.9), 2.7, 10) == pytest.approx(0.81)
    assert rate_factor(Optimizer(), 9, 10) == 1.0


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
