"""The fast gradients of depthwise convolutions equal those of autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.depthwise import FastDepthwise

ROUNDING = 0.01
"""bf16 keeps 8 bits; sums of a few hundred products stay well within this."""


@pytest.mark.parametrize(
    ("height", "kernel", "stride", "padding"),
    [(9, 5, 1, 2), (10, 5, 2, 2), (35, 5, 2, 0), (12, 3, 2, 1), (13, 3, 2, 0), (14, 7, 1, 3)],
)
def test_gradients_are_those_of_autograd(
    height: int, kernel: int, stride: int, padding: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, height, height + 3, generator=generator)
    weight = torch.randn(16, 1, kernel, kernel, generator=generator)
    bias = torch.randn(16, generator=generator)

    def gradients(*, fast: bool) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        options = {"stride": stride, "padding": padding, "groups": 16}
        if fast:
            with torch.autocast("cpu", torch.bfloat16), FastDepthwise():
                y = F.conv2d(*leaves, **options)
            assert "_Depthwise" in str(y.grad_fn.next_functions[0][0])
        else:
            y = F.conv2d(*leaves, **options)
        (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        return [y.detach().float(), *(leaf.grad for leaf in leaves)]

    for exact, found in zip(gradients(fast=False), gradients(fast=True), strict=True):
        assert found.dtype == torch.float32
        assert (found - exact).norm() < ROUNDING * exact.norm()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 5, padding=2),  # not depthwise
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # oneDNN is fast here
        nn.Conv2d(8, 16, 5, padding=2, groups=8),  # two outputs per channel
        nn.Conv2d(8, 8, 5, padding="same", groups=8),
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8),
    ],
)
def test_other_convolutions_are_left_alone(layer: nn.Module) -> None:
    x = torch.randn(2, 8, 9, 9)
    with torch.autocast("cpu", torch.bfloat16), FastDepthwise():
        y = layer(x)
    assert y.grad_fn is not None
    assert "Convolution" in type(y.grad_fn).__name__


def test_full_precision_is_left_alone() -> None:
    layer = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    x = torch.randn(2, 8, 9, 9)
    with FastDepthwise():
        y = layer(x)
    assert torch.equal(y, layer(x))
    assert "Convolution" in type(y.grad_fn).__name__
