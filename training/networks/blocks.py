"""Study 4: five building blocks, and a depthwise one, in one CIFAR-10 frame.

The frame: three convolutions 3 -> 32 -> 64 -> 128, eight blocks of one kind, max-pool 2 after the
third, fifth and eighth, global average pooling, dropout 0.25, a linear head.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.recipe import RecipeError

CHANNELS = (128, 128, 128, 256, 256, 256, 512, 512, 512)
POOLED = (3, 5, 8)
"""Blocks, counted from 1, that a max-pool follows."""


def blocks(kind: str, classes: int = 10) -> tuple[nn.Module, nn.Module]:
    """Build the frame around one kind of block, as `KINDS` names them.

    Raises:
        RecipeError: unknown kind.
    """
    if kind not in KINDS:
        raise RecipeError(f"block {kind!r} is unknown; there are: {', '.join(KINDS)}.")
    layers: list[nn.Module] = []
    for before, after in pairwise((3, 32, 64, 128)):
        # the study's parameter counts hold with a bias here, though batch-norm undoes it
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    for place, (before, after) in enumerate(pairwise(CHANNELS), start=1):
        layers.append(KINDS[kind](before, after))
        if place in POOLED:
            layers.append(nn.MaxPool2d(2))
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return trunk, nn.Sequential(nn.Dropout(0.25), nn.Linear(CHANNELS[-1], classes))


def _plain(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class SpatialAttention(nn.Module):
    """A plain block whose every position is weighted by sigmoid of a 1x1 convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.plain = _plain(before, after)
        self.attention = nn.Conv2d(after, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N x before x H x W -> N x after x H x W."""
        x = self.plain(x)
        return x * torch.sigmoid(self.attention(x))  # (N, C, H, W) * (N, 1, H, W)


class ChannelAttention(nn.Module):
    """A plain block with squeeze-and-excitation, reduction 16 (Hu et al. 2018)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.plain = _plain(before, after)
        self.excitation = nn.Sequential(
            nn.Linear(after, after // 16), nn.ReLU(), nn.Linear(after // 16, after), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x before x H x W -> N x after x H x W."""
        x = self.plain(x)
        weights: Tensor = self.excitation(x.mean((2, 3)))  # (N, C)
        return x * weights[:, :, None, None]


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where channels change."""

    def __init__(self, body: nn.Module, before: int, after: int) -> None:
        super().__init__()
        self.body = body
        self.shortcut = (
            nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x before x H x W -> N x after x H x W."""
        return torch.relu(self.body(x) + self.shortcut(x))


def _residual(before: int, after: int) -> Residual:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return Residual(nn.Sequential(convolution, nn.BatchNorm2d(after)), before, after)


def _depthwise(before: int, after: int) -> Residual:
    depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
    pointwise = nn.Conv2d(before, after, 1, bias=False)
    return Residual(nn.Sequential(depthwise, pointwise, nn.BatchNorm2d(after)), before, after)


def _grouped_bottleneck(before: int, after: int) -> Residual:
    middle, groups = after // 4, before // 8
    body = nn.Sequential(
        nn.Conv2d(before, middle, 1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, middle, 3, padding=1, groups=groups, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, after, 1, bias=False),
        nn.BatchNorm2d(after),
    )
    return Residual(body, before, after)


KINDS: dict[str, Callable[[int, int], nn.Module]] = {
    "plain": _plain,
    "spatial-attention": SpatialAttention,
    "channel-attention": ChannelAttention,
    "residual": _residual,
    "residual-depthwise": _depthwise,
    "grouped-bottleneck": _grouped_bottleneck,
}
"""The study's blocks A, B, C, D, D depthwise and E, in this order."""
