"""Optimizers and learning-rate schedules."""

import math
from typing import Any

from torch import nn, optim

from training.muon import Muon
from training.settings import Optimizer


def make_optimizer(model: nn.Module, settings: Optimizer) -> optim.Optimizer:
    """Make the optimizer of the trainable weights; biases and norms have no weight decay."""
    weights = [w for w in model.parameters() if w.requires_grad]
    if settings.name == "muon":
        return _muon(weights, settings)
    groups = _groups(weights, settings)
    if settings.trunk_share != 1.0:
        named = [(name, w) for name, w in model.named_parameters() if w.requires_grad]
        heads = [w for name, w in named if name.startswith("head.")]
        rest = [w for name, w in named if not name.startswith("head.")]
        slow = [{**group, "factor": settings.trunk_share} for group in _groups(rest, settings)]
        groups = [*_groups(heads, settings), *slow]
    if settings.name == "sgd":
        momentum = settings.momentum
        return optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0)
    kind = optim.Adam if settings.name == "adam" else optim.AdamW
    return kind(groups, lr=settings.lr)


def _groups(weights: list[nn.Parameter], settings: Optimizer) -> list[dict[str, Any]]:
    return [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]


def _muon(weights: list[nn.Parameter], settings: Optimizer) -> Muon:
    rest = {"share": settings.lr_rest / settings.lr}
    matrices = [w for w in weights if w.ndim == 2]  # noqa: PLR2004
    groups: list[dict[str, Any]] = [
        {"params": [w for w in weights if w.ndim > 2], "orthogonal": True},  # noqa: PLR2004
        {"params": matrices, "weight_decay": settings.weight_decay, **rest},
        {"params": [w for w in weights if w.ndim <= 1], **rest},
    ]
    return Muon(groups, settings.lr, settings.momentum)


def rate_factor(settings: Optimizer, done: float, epochs: int) -> float:
    """Return the schedule's factor on the learning rate after `done` (fractional) of `epochs`."""
    warmup = settings.warmup * epochs
    if done < warmup:
        return done / warmup
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "exponential":
        return float(settings.gamma ** math.floor(done / settings.step))
    rest = (done - warmup) / (epochs - warmup)
    return 1.0 - rest if settings.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * rest))


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times the group's `factor` (default 1)."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
