"""Heads are recognised in the ways in which exporters write them."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.inspection.head import find_head
from tests.graphs import one_at_a_time, tiny_model

CHANNELS, CLASSES = 16, 3
WEIGHTS = np.random.default_rng(0).normal(0, 1, (CLASSES, CHANNELS)).astype(np.float32)
BIAS = np.array([1, 2, 3], np.float32)


def ending(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    """`tiny_model` with other nodes behind its last ReLU, `r2`."""
    model = tiny_model()
    del model.graph.node[-3:]
    del model.graph.output[1]
    model.graph.node.extend(nodes)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model.graph.initializer.extend(tensors)
    return model


def node(operator: str, *inputs: str, to: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [to], **attributes)


def pool_by_mean(axes: list[int], keepdims: int) -> list[onnx.NodeProto]:
    constant = numpy_helper.from_array(np.array(axes))
    return [
        node("Constant", to="axes", value=constant),
        node("ReduceMean", "r2", "axes", to="means", keepdims=keepdims),
        node("Flatten", "means", to="flat"),
    ]


def transposed_gemm() -> onnx.ModelProto:
    gemm = node("Gemm", "flat", "w", "b", to="logits", transB=1, alpha=2.0, beta=0.5)
    return ending([*pool_by_mean([2, 3], 1), gemm], w=WEIGHTS / 2, b=2 * BIAS)


def product_and_sum() -> onnx.ModelProto:
    nodes = [node("MatMul", "flat", "w", to="product"), node("Add", "b", "product", to="logits")]
    return ending([*pool_by_mean([-1, -2], 0), *nodes], w=WEIGHTS.T, b=BIAS[None])


def convolution() -> onnx.ModelProto:
    nodes = [
        node("GlobalAveragePool", "r2", to="means"),
        node("Conv", "means", "w", "b", to="small"),
        node("Flatten", "small", to="logits"),
    ]
    return ending(nodes, w=WEIGHTS[:, :, None, None], b=BIAS)


def half_precision_weights() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        node("Gemm", "flat", "wide", "b", to="logits", transB=1),
    ]
    return ending([*pool_by_mean([2, 3], 0), *nodes], w=WEIGHTS.astype(np.float16), b=BIAS)


def integer_weights() -> onnx.ModelProto:
    nodes = [
        node("DequantizeLinear", "w", "scale", to="wide"),
        node("Gemm", "flat", "wide", "b", to="logits", transB=1),
    ]
    scale = np.float32(np.abs(WEIGHTS).max() / 127)
    rounded = np.rint(WEIGHTS / scale).astype(np.int8)
    return ending([*pool_by_mean([2, 3], 0), *nodes], w=rounded, b=BIAS, scale=np.array(scale))


def channels_last() -> onnx.ModelProto:
    nodes = [
        node("Transpose", "r2", to="last", perm=[0, 2, 3, 1]),
        node("ReduceMean", "last", "axes", to="means", keepdims=0),
        node("Gemm", "means", "w", "b", to="logits", transB=1),
    ]
    return ending(nodes, axes=np.array([1, 2]), w=WEIGHTS, b=BIAS)


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (transposed_gemm, 1e-6),
        (product_and_sum, 1e-6),
        (convolution, 1e-6),
        (half_precision_weights, 2e-3),
        (integer_weights, 2e-2),
        (channels_last, 1e-6),
    ],
)
def test_weights_and_bias_are_read(make: Callable[[], onnx.ModelProto], tolerance: float) -> None:
    head = find_head(make())
    assert head is not None
    assert head.channels_last is (make is channels_last)
    assert head.maps == ("last" if head.channels_last else "r2")
    assert head.weights is not None
    np.testing.assert_allclose(head.weights, WEIGHTS, atol=tolerance)
    np.testing.assert_allclose(head.bias, BIAS, atol=1e-6)


def test_means_may_be_the_logits_themselves() -> None:
    nodes = [
        node("Conv", "r2", "w", to="maps"),
        node("GlobalAveragePool", "maps", to="means"),
        node("Flatten", "means", to="logits"),
    ]
    head = find_head(ending(nodes, w=WEIGHTS[:, :, None, None]))
    assert head is not None
    assert (head.maps, head.weights, head.bias) == ("maps", None, None)


def test_what_exporters_put_between_does_not_disturb() -> None:
    head = find_head(one_at_a_time())
    assert head is not None
    assert (head.maps, head.channels_last) == ("r2", False)


def two_layers() -> onnx.ModelProto:
    nodes = [
        node("Gemm", "flat", "v", to="hidden"),
        node("Relu", "hidden", to="active"),
        node("Gemm", "active", "w", to="logits", transB=1),
    ]
    return ending([*pool_by_mean([2, 3], 0), *nodes], v=np.eye(16, dtype=np.float32), w=WEIGHTS)


def pooled_by_maximum() -> onnx.ModelProto:
    nodes = [
        node("GlobalMaxPool", "r2", to="most"),
        node("Flatten", "most", to="flat"),
        node("Gemm", "flat", "w", to="logits", transB=1),
    ]
    return ending(nodes, w=WEIGHTS)


def weights_of_the_picture() -> onnx.ModelProto:
    """The classifier's weights depend on the picture, as in attention."""
    nodes = [
        node("ReduceMax", "r2", to="most", keepdims=0),
        node("Mul", "w", "most", to="own"),
        node("Gemm", "flat", "own", to="logits", transB=1),
    ]
    return ending([*pool_by_mean([2, 3], 0), *nodes], w=WEIGHTS)


@pytest.mark.parametrize("make", [two_layers, pooled_by_maximum, weights_of_the_picture])
def test_other_endings_are_not_taken_for_one(make: Callable[[], onnx.ModelProto]) -> None:
    assert find_head(make()) is None


def test_a_mean_over_channels_is_no_pooling() -> None:
    model = ending([*pool_by_mean([1], 0), node("Gemm", "flat", "w", to="logits")], w=WEIGHTS)
    assert find_head(model) is None
