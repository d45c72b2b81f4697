"""Fast bf16 gradients of depthwise convolutions on a CPU.

In bf16, oneDNN has no fast code for the weight gradient of depthwise kernels wider than 3, nor for
the input gradient at a stride above 1. It falls back to a loop that takes most of a training step.
Both can be expressed by operations that are fast:

- a k x k weight gradient is assembled from 3 x 3 weight gradients of shifted inputs;
- the input gradient at stride s is a convolution at stride 1, with the mirrored kernel, of the
  output gradient with s - 1 zeros between its elements (Dumoulin & Visin 2016, section 4.6).
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

FAST_KERNEL = 3
"""Maximum side of a kernel for which oneDNN has a fast weight gradient in bf16."""


def fast_depthwise(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return `FastDepthwise` for a CPU; others have fast gradients, and compilers do without it."""
    return FastDepthwise() if device.type == "cpu" else contextlib.nullcontext()


class FastDepthwise(TorchFunctionMode):
    """Context in which depthwise convolutions on a CPU under bf16 autocast get fast gradients.

    The forward pass gives the same results; gradients differ by rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func`, or the convolution with fast gradients in its place."""
        if func is torch.conv2d:
            settings = _depthwise(*args, **(kwargs or {}))
            if settings is not None:
                x, weight, bias, stride, padding = settings
                y: Tensor = _Depthwise.apply(x, weight, stride, padding)
                return y if bias is None else y + bias.to(y.dtype)[:, None, None]
        return func(*args, **(kwargs or {}))


Convolution = tuple[Tensor, Tensor, Tensor | None, int, int]
"""Input, weight, bias, stride and padding of a depthwise convolution."""


def _depthwise(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: str | int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Convolution | None:
    """Return the arguments of a convolution that `_Depthwise` speeds up; None for any other."""
    channels, height, width = weight.shape[0], *weight.shape[2:]
    if isinstance(padding, str):
        return None
    strides, pads, dilations = _pair(stride), _pair(padding), _pair(dilation)
    fits = (
        input.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and channels == groups == input.shape[1]
        and height == width
        and height % 2 == 1
        and (height > FAST_KERNEL or strides != (1, 1))
        and strides[0] == strides[1]
        and pads[0] == pads[1] < height
        and dilations == (1, 1)
    )
    return (input, weight, bias, strides[0], pads[0]) if fits else None


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return (vertical, horizontal)."""
    both = (value,) if isinstance(value, int) else tuple(value)
    return both * 2 if len(both) == 1 else both


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution in bf16 with an odd square kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """N x C x H x W, C x 1 x K x K -> N x C x H' x W'."""
        half = x.to(torch.bfloat16)
        kernel = weight.to(torch.bfloat16)
        ctx.save_for_backward(half, kernel)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(half, kernel, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of x and weight for that of the output, N x C x H' x W'."""
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad[:2]
        grad = grad.contiguous(memory_format=torch.channels_last)
        return (
            _input_gradient(grad, x, weight, ctx.stride, ctx.padding) if need_x else None,
            _weight_gradient(grad, x, weight, ctx.stride, ctx.padding) if need_weight else None,
            None,
            None,
        )


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """N x C x H' x W' -> N x C x H x W."""
    border = weight.shape[2] - 1 - padding
    if stride > 1:
        height, width = (size + 2 * padding - weight.shape[2] + 1 for size in x.shape[2:])
        shape = (*grad.shape[:2], height, width)
        spaced = torch.empty(shape, dtype=grad.dtype, memory_format=torch.channels_last).zero_()
        spaced[:, :, ::stride, ::stride] = grad
        grad = spaced
    return F.conv2d(grad, weight.flip(2, 3), padding=border, groups=x.shape[1])


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """N x C x H' x W' -> C x 1 x K x K."""
    side, part = weight.shape[2], min(weight.shape[2], FAST_KERNEL)
    height, width = ((size - 1) * stride + part for size in grad.shape[2:])
    padded = F.pad(x, (padding,) * 4)
    gradient = torch.empty_like(weight)
    for top in range(0, max(side - 1, 1), part - 1):
        for left in range(0, max(side - 1, 1), part - 1):
            window = padded[:, :, top : top + height, left : left + width]
            gradient[:, :, top : top + part, left : left + part] = _small_weight_gradient(
                grad, window.contiguous(memory_format=torch.channels_last), weight, part, stride
            )
    return gradient


def _small_weight_gradient(
    grad: Tensor, window: Tensor, weight: Tensor, part: int, stride: int
) -> Tensor:
    """Return C x 1 x part x part, the weight gradient of a convolution without padding."""
    corner = weight[:, :, :part, :part].contiguous()
    _, gradient, _ = torch.ops.aten.convolution_backward(
        grad,
        window,
        corner,
        None,
        [stride, stride],
        [0, 0],
        [1, 1],
        False,  # not transposed
        [0, 0],
        window.shape[1],
        [False, True, False],
    )
    result: Tensor = gradient
    return result
