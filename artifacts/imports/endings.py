"""What a graph ends with: logits, or the probabilities of a softmax or of sigmoids.

An artifact serves logits, because they are divided by a temperature before they become
probabilities. A softmax is recognised by its nodes, and taken off, wherever operators stand behind
it that do not change values. What the nodes do not show, the values do.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from artifacts.imports.edits import append, constant, fresh, is_weight, producer

Kind = Literal["logits", "softmax", "log_softmax", "sigmoid"]
Values = npt.NDArray[np.float64]
"""N x C."""

CONVERTED = "vitrine_float32"
"""Start of the names of tensors that were converted to float32 for the import."""
SHAPE_OPERATORS = {"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
"""Operators that keep all values, in their order."""
TINY = 1e-30
"""What probabilities are at least before the logarithm."""
ROUNDING = 1e-3
"""How far a probability may be outside 0..1."""
SUM_TOLERANCE = 1e-2
"""How far the sum of probabilities may be from 1; float16 sums 1,000 classes to within 0.005."""


@dataclass(frozen=True)
class Ending:
    """A softmax or a sigmoid, found by its nodes."""

    kind: Literal["softmax", "sigmoid"]
    logits: str
    """Name of the tensor that goes into it."""
    behind: tuple[onnx.NodeProto, ...]
    """Operators between it and the output that change shape or type, the first one first."""


def find_ending(graph: onnx.GraphProto, output: str) -> Ending | None:
    """Find the softmax or the sigmoid that an output comes from, None if there is none.

    Recognised are Softmax, LogSoftmax and Sigmoid, and a softmax that is written out as an
    exponential divided by its sum. Behind them may be logarithms, limits (Clip) and operators that
    change shape or type only.
    """
    behind: list[onnx.NodeProto] = []
    while (node := producer(graph, output)) is not None:
        if node.op_type in {"Softmax", "LogSoftmax"}:
            return Ending("softmax", node.input[0], tuple(behind))
        if node.op_type == "Sigmoid":
            return Ending("sigmoid", node.input[0], tuple(behind))
        if node.op_type == "Div":
            logits = _written_out(graph, node)
            return None if logits is None else Ending("softmax", logits, tuple(behind))
        if node.op_type in SHAPE_OPERATORS:
            behind.insert(0, node)
        elif node.op_type not in {"Clip", "Log"}:
            return None
        output = node.input[0]
    return None


def _written_out(graph: onnx.GraphProto, division: onnx.NodeProto) -> str | None:
    """Return x of exp(x - max x) / sum exp(x - max x), None if `division` is something else."""
    exponentials, total = division.input
    exponential = producer(graph, exponentials)
    addition = producer(graph, total)
    if exponential is None or exponential.op_type != "Exp":
        return None
    if addition is None or addition.op_type != "ReduceSum" or addition.input[0] != exponentials:
        return None
    shifted: str = exponential.input[0]
    difference = producer(graph, shifted)
    if difference is not None and difference.op_type == "Sub":
        greatest = producer(graph, difference.input[1])
        if greatest is not None and greatest.op_type == "ReduceMax":
            return str(difference.input[0])
    return shifted


def take_off(graph: onnx.GraphProto, ending: Ending) -> str:
    """Compute the logits of an ending in the shape of its output, and return their tensor."""
    tensor = ending.logits
    for node in ending.behind:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = ""
        copy.input[0] = tensor
        tensor = fresh(graph, "vitrine_logits")
        copy.output[:] = [tensor]
    return tensor


def put_logarithm(graph: onnx.GraphProto, tensor: str) -> str:
    """Compute log p, whose softmax is p exactly, and return the tensor.

    Args:
        graph: changed in place.
        tensor: probabilities p of type float32; 0 counts as `TINY`.
    """
    tiny = constant(graph, np.array(TINY, np.float32), "vitrine_tiny")
    positive = append(graph, "Max", [tensor, tiny], "vitrine_positive")
    return append(graph, "Log", [positive], "vitrine_logits")


def put_log_odds(graph: onnx.GraphProto, tensor: str) -> str:
    """Compute log(p / (1 - p)), whose sigmoid is p, and return the tensor; see `put_logarithm`."""
    one = constant(graph, np.array(1, np.float32), "vitrine_one")
    rest = append(graph, "Sub", [one, tensor], "vitrine_rest")
    for_it, against_it = put_logarithm(graph, tensor), put_logarithm(graph, rest)
    return append(graph, "Sub", [for_it, against_it], "vitrine_logits")


def put_pair(graph: onnx.GraphProto, tensor: str) -> str:
    """Turn the logit of one of two classes (N x 1) into logits [0, x] (N x 2)."""
    zero = constant(graph, np.array(0, np.float32), "vitrine_zero")
    first = append(graph, "Mul", [tensor, zero], "vitrine_first")
    return append(graph, "Concat", [first, tensor], "vitrine_logits", axis=1)


def put_rows(graph: onnx.GraphProto, tensor: str, rank: int, element: int) -> str:
    """Make a tensor float32 N x C, which has further axes of length 1 or another type."""
    if element != TensorProto.FLOAT:
        tensor = append(graph, "Cast", [tensor], CONVERTED, to=TensorProto.FLOAT)
    if rank != 2:  # noqa: PLR2004
        tensor = append(graph, "Flatten", [tensor], "vitrine_rows", axis=1)
    return tensor


def before_cast(graph: onnx.GraphProto, tensor: str) -> str:
    """Return what `put_rows` converted to float32 at the very end of a graph, or the tensor."""
    node = producer(graph, tensor)
    added = node is not None and node.op_type == "Cast" and tensor.startswith(CONVERTED)
    return str(node.input[0]) if node is not None and added else tensor


def kind_of(values: Values) -> Kind:
    """Tell from the answers to several pictures what they are.

    Args:
        values: N x C, finite.

    Returns:
        softmax if every row is of 0..1 and sums to 1; log_softmax if its exponential is so; sigmoid
        if every value is within 0..1; otherwise logits.
    """
    several = values.shape[1] > 1
    if are_shares(values):
        return "softmax" if several and _sum_to_one(values) else "sigmoid"
    if several and values.max() <= ROUNDING and _sum_to_one(np.exp(values)):
        return "log_softmax"
    return "logits"


def are_shares(values: Values) -> bool:
    """Whether all values are within 0..1."""
    return bool(values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING)


def _sum_to_one(values: Values) -> bool:
    return bool(np.all(np.abs(values.sum(axis=1) - 1) < SUM_TOLERANCE))


def head_input(graph: onnx.GraphProto, output: str) -> str | None:
    """Return the input of the last linear layer, or None if the graph does not end in one."""
    node = producer(graph, output)
    while node is not None and node.op_type in SHAPE_OPERATORS:
        node = producer(graph, node.input[0])
    if node is not None and node.op_type == "Add":
        operand = next((name for name in node.input if not is_weight(graph, name)), "")
        node = producer(graph, operand)
    if node is not None and node.op_type in {"Gemm", "MatMul"}:
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        first = str(node.input[0])
        return None if transposed or is_weight(graph, first) else first
    return None
