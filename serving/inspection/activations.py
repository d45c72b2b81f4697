"""Finds the activations of a graph, including those that consist of several operators."""

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
"""Operators that are activations on their own."""

Consumers = Mapping[str, Sequence[onnx.NodeProto]]
"""The nodes that read each tensor."""


@dataclass(frozen=True)
class Activation:
    """An activation of a graph, and the tensor that it computes."""

    name: str
    """Name of its first node, or of its output tensor if that name is missing or not unique."""
    operator: str
    tensor: str
    """Name of its output; in a quantized graph, of the rounded output that the next layers read."""


def find_activations(graph: onnx.GraphProto) -> tuple[Activation, ...]:
    """Return the activations of a graph without local functions, in the order of the graph."""
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
    """Return the dequantized form of a tensor that is only quantized, else the tensor itself."""
    rounding = consumers.get(tensor, [])
    if [node.op_type for node in rounding] != ["QuantizeLinear"]:
        return tensor
    restoring = consumers.get(rounding[0].output[0], [])
    if [node.op_type for node in restoring] != ["DequantizeLinear"]:
        return tensor
    return restoring[0].output[0]


def _ends(graph: onnx.GraphProto, consumers: Consumers) -> dict[str, tuple[onnx.NodeProto, str]]:
    """Map the output of each activation to its first node and the name of the operator."""
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
    """Return the Mul of x * sigmoid(x) if `node` is that sigmoid."""
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
    """Return the last Mul of x/2 * (1 + erf(...)) if `node` is that erf, or a tanh in its place."""
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
    """Whether a Clip is a ReLU with an upper limit, such as ReLU6; others are no activations."""
    attributes = {a.name: a.f for a in node.attribute}  # opsets below 11 store the limits here
    least = constants.get(node.input[1]) if len(node.input) > 1 else attributes.get("min")
    return least == 0.0


def _scalars(graph: onnx.GraphProto) -> dict[str, float]:
    """Return the values of the graph's constants that have one element."""
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
