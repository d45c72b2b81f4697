"""Finds the activations of a graph, those that are several operators among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

ACTIVATIONS = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Softplus"),
        *("Sigmoid", "HardSigmoid", "Tanh", "Softsign", "Gelu", "HardSwish", "Swish", "Mish"),
    }
)
"""Operators that are activations by themselves."""

Consumers = Mapping[str, Sequence[onnx.NodeProto]]


@dataclass(frozen=True)
class Activation:
    """Where an activation ends in a graph."""

    name: str
    """Of the node it begins with, or of the tensor where that tells no two apart."""
    operator: str
    tensor: str
    """What it gives; in a quantized graph as the next layers get it, rounded."""


def find_activations(graph: onnx.GraphProto) -> tuple[Activation, ...]:
    """The activations of a graph without local functions, in its order."""
    consumers = _consumers(graph)
    found = _ends(graph, consumers)
    names = [node.name for node, _ in found.values()]
    return tuple(
        Activation(
            origin.name if origin.name and names.count(origin.name) == 1 else node.output[0],
            operator,
            _rounded(node.output[0], consumers),
        )
        for node in graph.node
        if node.output[0] in found
        for origin, operator in [found[node.output[0]]]
    )


def _consumers(graph: onnx.GraphProto) -> Consumers:
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    return consumers


def _rounded(tensor: str, consumers: Consumers) -> str:
    """What QuantizeLinear and DequantizeLinear make of a tensor, if nothing else uses it."""
    rounding = consumers.get(tensor, [])
    if [node.op_type for node in rounding] != ["QuantizeLinear"]:
        return tensor
    restoring = consumers.get(rounding[0].output[0], [])
    if [node.op_type for node in restoring] != ["DequantizeLinear"]:
        return tensor
    return restoring[0].output[0]


def _ends(graph: onnx.GraphProto, consumers: Consumers) -> dict[str, tuple[onnx.NodeProto, str]]:
    """Name of the tensor that an activation gives -> (node to name it by, operator)."""
    constants = _scalars(graph)
    found: dict[str, tuple[onnx.NodeProto, str]] = {}
    for node in graph.node:
        operator = node.op_type
        if operator == "Sigmoid" and (gate := _silu(node, consumers)):
            found[gate.output[0]] = node, "SiLU"
        elif operator in {"Erf", "Tanh"} and (end := _gelu(node, consumers, constants)):
            found[end.output[0]] = node, "GELU"
        elif operator in ACTIVATIONS:
            found[node.output[0]] = node, operator
        elif operator == "Clip" and _clips_at_zero(node, constants):
            found[node.output[0]] = node, "Clip"
    return found


def _silu(node: onnx.NodeProto, consumers: Consumers) -> onnx.NodeProto | None:
    """The Mul of x * sigmoid(x), if `node` is that sigmoid."""
    followers = consumers.get(node.output[0], [])
    if (
        len(followers) == 1
        and followers[0].op_type == "Mul"
        and node.input[0] in followers[0].input
    ):
        return followers[0]
    return None


def _gelu(
    node: onnx.NodeProto,
    consumers: Consumers,
    constants: dict[str, float],
) -> onnx.NodeProto | None:
    """The last Mul of x/2 * (1 + erf(...)), or with tanh, if `node` is that erf or tanh."""
    end = node
    for operator in ("Add", "Mul", "Mul"):
        followers = consumers.get(end.output[0], [])
        if len(followers) != 1 or followers[0].op_type != operator:
            return end if end.op_type == "Mul" else None
        end = followers[0]
        if operator == "Add" and not any(constants.get(name) == 1.0 for name in end.input):
            return None
    return end


def _clips_at_zero(node: onnx.NodeProto, constants: dict[str, float]) -> bool:
    """Whether a Clip is a ReLU with a ceiling, as ReLU6 is; other clips are arithmetic."""
    attributes = {a.name: a.f for a in node.attribute}  # where opsets below 11 keep the limits
    least = constants.get(node.input[1]) if len(node.input) > 1 else attributes.get("min")
    return least == 0.0


def _scalars(graph: onnx.GraphProto) -> dict[str, float]:
    """Values of the graph's constants of one element."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    arrays = {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if np.prod(tensor.dims) == 1
    }
    return {name: float(array.item()) for name, array in arrays.items()}
