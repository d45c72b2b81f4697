"""The fast net: a small residual convolutional net for 32 px pictures that takes any size.

After the fastest known CIFAR-10 recipes (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single
GPU", arXiv 2404.00498): the first layer whitens 2x2 patches and is computed, not learned; the
convolutions start as the identity where they can; batch-norm does not learn its scale. Changed for
pictures of any size: global average pooling in place of a pooling of fixed size.
"""

import torch
from torch import Tensor, nn

PATCH = 2
WHITENED = 2 * 3 * PATCH * PATCH
"""Eigenvectors of the patches, and their negatives: what the activation keeps of both signs."""


def fast(
    widths: tuple[int, ...] = (64, 256, 256), depth: int = 2, classes: int = 10
) -> tuple[nn.Module, nn.Module]:
    """Build trunk and head.

    Args:
        widths: channels of each group; a group halves height and width.
        depth: convolutions in a group.
        classes: width of the output.
    """
    return FastTrunk(widths, depth), nn.Linear(widths[-1], classes)


class FastTrunk(nn.Module):
    """Whitening, groups of convolutions, global average pooling.

    Args:
        widths: as `fast`.
        depth: as `fast`.
    """

    def __init__(self, widths: tuple[int, ...], depth: int) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, WHITENED, PATCH)
        self.whiten.weight.requires_grad_(False)
        groups: list[nn.Module] = []
        before = WHITENED
        for width in widths:
            groups.append(Group(before, width, depth))
            before = width
        self.groups = nn.Sequential(*groups)

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W -> N x D."""
        x = nn.functional.gelu(self.whiten(images))
        pooled: Tensor = self.groups(x).mean((2, 3))
        return pooled

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Compute the whitening filters from pictures N x 3 x H x W, normalised."""
        patches = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (N, 3, H-1, W-1, 2, 2)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, WHITENED // 2)
        covariance = (rows.T @ rows) / len(rows)
        values, vectors = torch.linalg.eigh(covariance)
        filters = (vectors / (values + 5e-4).sqrt()).T.reshape(-1, 3, PATCH, PATCH)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        assert self.whiten.bias is not None  # noqa: S101
        self.whiten.bias.zero_()


class Group(nn.Module):
    """A convolution that halves the picture, then convolutions with a way around them."""

    def __init__(self, before: int, after: int, depth: int) -> None:
        super().__init__()
        self.entry = nn.Sequential(_convolution(before, after), nn.MaxPool2d(2), _norm(after))
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.GELU(), _convolution(after, after), _norm(after)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """N x before x H x W -> N x after x H/2 x W/2."""
        x = self.entry(x)
        y: Tensor = nn.functional.gelu(self.body(x))
        return y


def _convolution(before: int, after: int) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight[:before])
    return layer


def _norm(width: int) -> nn.BatchNorm2d:
    # few steps in all: statistics must follow the weights quickly
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
