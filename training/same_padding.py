"""Exports TensorFlow's SAME padding as the ONNX attribute auto_pad.

timm computes the padding from the picture's size. With dynamic sizes, the traced arithmetic nests
from layer to layer, and the exporter needs minutes to simplify it.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

OPERATOR_SET = 20


@contextlib.contextmanager
def same_padding_as_attribute(module: nn.Module) -> Iterator[None]:
    """Trace SAME convolutions as `Conv` with auto_pad=SAME_UPPER while the context is active.

    In this context the module can be exported but not run.
    """
    # recognised by name: importing timm takes seconds, and most networks do not need it
    same = [m for m in module.modules() if type(m).__name__ == "Conv2dSame"]
    convolutions = [m for m in same if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        vars(convolution)["forward"] = _symbolic(convolution)
    try:
        yield
    finally:
        for convolution in convolutions:
            del vars(convolution)["forward"]


def _symbolic(convolution: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        count, _, *sides = x.shape
        strides = list(convolution.stride)
        sides = [(side + step - 1) // step for side, step in zip(sides, strides, strict=True)]
        bias = () if convolution.bias is None else (convolution.bias,)
        traced: Tensor = torch.onnx.ops.symbolic(
            "Conv",
            (x, convolution.weight, *bias),
            attrs={
                "auto_pad": "SAME_UPPER",
                "dilations": list(convolution.dilation),
                "group": convolution.groups,
                "kernel_shape": list(convolution.kernel_size),
                "strides": strides,
            },
            dtype=x.dtype,
            shape=(count, convolution.out_channels, *sides),
            version=OPERATOR_SET,
        )
        return traced

    return forward
