"""Counts exact zeros inside the served graph: graph surgery, so that no feature map leaves it.

Every activation's output gets a branch that ends in a small extra output: the share of values that
are not zero, per picture and channel. The graph itself stays as it is, and so do its answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.graph import load_graph
from artifacts.runtime import Picture
from serving.schemas import Layer

ACTIVATIONS = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Softplus"),
        *("Sigmoid", "HardSigmoid", "Tanh", "Softsign", "Gelu", "HardSwish", "Swish", "Mish"),
    }
)
"""Operators that are activations by themselves."""

REDUCE_AXES_AS_INPUT = 18
"""Opset from which ReduceMean takes its axes as an input."""


Consumers = Mapping[str, Sequence[onnx.NodeProto]]


@dataclass(frozen=True)
class Tap:
    """An activation, and the extra output that watches it."""

    name: str
    operator: str
    tensor: str
    """What is watched."""
    output: str


class Probe:
    """An artifact's graph with all activations tapped, and its session.

    Args:
        artifact: verified.
        threads: ONNX Runtime threads within one call; 0 takes one per core.

    Raises:
        ArtifactError: the rank of an activation cannot be told from the graph.
    """

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        model, self.taps = tap_activations(load_graph(artifact.model_path))
        self.runtime = Runtime(model.SerializeToString(), artifact.manifest.input, threads)

    def layers(self, pictures: Sequence[Picture]) -> tuple[Layer, ...]:
        """Shares of exact zeros by layer, over `pictures` (uint8 H x W x 3, of mixed sizes).

        Each picture counts alike, whatever its size.
        """
        if not self.taps:
            return ()
        found = self.runtime.run(pictures, [tap.output for tap in self.taps])
        return tuple(_layer(tap, found[tap.output]) for tap in self.taps)


def tap_activations(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Tap, ...]]:
    """Add an output N x C after each activation: the share of its values that are not zero.

    Returns:
        A new model, all outputs of `model` kept, and what was tapped, in graph order.

    Raises:
        ArtifactError: the rank of an activation cannot be told from the graph.
    """
    model = inline_local_functions(model)
    ranks = _ranks(model)
    opset = next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"})
    nodes: list[onnx.NodeProto] = []
    taps: list[Tap] = []
    found = _activations(model.graph)
    names = [node.name for node, _ in found.values()]
    for node in model.graph.node:
        nodes.append(node)
        if node.output[0] not in found:
            continue
        origin, operator = found[node.output[0]]
        tensor = node.output[0]
        if tensor not in ranks:
            raise ArtifactError(f"the shape of {tensor!r} in the graph is unknown; cannot look in.")
        unique = bool(origin.name) and names.count(origin.name) == 1
        output = f"vitrine_nonzero_{len(taps)}"
        tap = Tap(origin.name if unique else tensor, operator, tensor, output)
        taps.append(tap)
        branch, constants = _branch(tensor, tap.output, ranks[tensor], opset)
        nodes.extend(branch)
        model.graph.initializer.extend(constants)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output.extend(
        helper.make_tensor_value_info(
            tap.output, TensorProto.FLOAT, ["N", f"{tap.output}_channels"]
        )
        for tap in taps
    )
    return model, tuple(taps)


def _branch(
    tensor: str, output: str, rank: int, opset: int
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Nodes from a tensor N x C x ..., or N x ... x C of rank 3, to its share of non-zeros."""
    flags, numbers = f"{output}_flags", f"{output}_numbers"
    last = rank <= 2  # noqa: PLR2004 - N x C: nothing to average over
    nodes = [
        helper.make_node("Cast", [tensor], [flags], to=TensorProto.BOOL),
        helper.make_node("Cast", [flags], [output if last else numbers], to=TensorProto.FLOAT),
    ]
    if last:
        return nodes, []
    # transformers keep tokens in the middle: N x T x C
    axes = [1] if rank == 3 else list(range(2, rank))  # noqa: PLR2004
    if opset < REDUCE_AXES_AS_INPUT:
        reduce = helper.make_node("ReduceMean", [numbers], [output], axes=axes, keepdims=0)
        return [*nodes, reduce], []
    constant = numpy_helper.from_array(np.array(axes, np.int64), f"{output}_axes")
    reduce = helper.make_node("ReduceMean", [numbers, constant.name], [output], keepdims=0)
    return [*nodes, reduce], [constant]


def _activations(graph: onnx.GraphProto) -> dict[str, tuple[onnx.NodeProto, str]]:
    """Find the activations: name of the tensor to tap -> (node to name it by, operator)."""
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
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


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Rank of every tensor whose shape ONNX can infer."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _layer(tap: Tap, nonzero: np.ndarray) -> Layer:
    # (N, C); a channel with one value off zero stays below 1: float64 resolves it
    zeros = 1.0 - nonzero.astype(np.float64)
    by_channel = zeros.mean(axis=0)
    return Layer(
        name=tap.name,
        operator=tap.operator,
        channels=len(by_channel),
        zeros=float(by_channel.mean()),
        channel_zeros=tuple(by_channel.tolist()),
    )
