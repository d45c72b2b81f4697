"""Finds the head of a graph: global average pooling, followed by one linear layer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from artifacts.graph import INPUT, OUTPUTS

SHAPES = frozenset(
    {"Cast", "Dropout", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
)
"""Operators that exporters put between the pooling and the classifier. That they leave every value
in its place is not read from the graph; whoever uses a `Head` checks it on pictures."""
AXES = {frozenset({2, 3}): False, frozenset({1, 2}): True}
"""Whether the channels are last, by the axes of a mean over height and width."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """What computes K logits from the mean of C maps."""

    maps: str
    """Name of the tensor that is pooled."""
    channels_last: bool
    """Whether it is N x H x W x C, rather than N x C x H x W."""
    weights: Values | None
    """K x C; None if the means are the logits themselves."""
    bias: Values | None
    """K; None if there is none."""


def find_head(model: onnx.ModelProto) -> Head | None:
    """Return the head of a model without local functions; None if it ends in another way."""
    return _Reader(model).head()


class _Reader:
    """Follows a graph from its logits back to the pooling."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def head(self) -> Head | None:
        node, bias = self._behind(OUTPUTS["classification"]), None
        if node is not None and node.op_type == "Add":
            constants = [self._constant(name) for name in node.input]
            data = [n for n, c in zip(node.input, constants, strict=True) if c is None]
            bias = next((c for c in constants if c is not None), None)
            if len(data) != 1 or bias is None:
                return None
            node = self._behind(data[0])
        weights = None
        if node is not None and (linear := self._linear(node)) is not None:
            weights, own = linear
            bias = own if bias is None else bias.ravel() + (0 if own is None else own)
            node = self._behind(node.input[0])
        if node is None or (channels_last := self._channels_last(node)) is None:
            return None
        maps = node.input[0]
        return Head(maps, channels_last, weights, None if bias is None else bias.ravel())

    def _behind(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor, before operators that only change its shape."""
        node = self._makers.get(tensor)
        while node is not None and node.op_type in SHAPES:
            node = self._makers.get(node.input[0])
        return node

    def _linear(self, node: onnx.NodeProto) -> tuple[Values, Values | None] | None:
        """The weights (K x C) and the bias of a linear layer; None if the node is none."""
        if node.op_type not in {"Gemm", "MatMul", "Conv"}:
            return None
        weights = self._constant(node.input[1])
        bias = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None  # noqa: PLR2004
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if weights is None or given.get("transA"):
            return None
        if node.op_type == "Conv":
            pointwise = weights.shape[2:] == (1, 1) and given.get("group", 1) == 1
            return (weights[:, :, 0, 0], bias) if pointwise else None
        if weights.ndim != 2:  # noqa: PLR2004
            return None
        weights = given.get("alpha", 1.0) * (weights if given.get("transB") else weights.T)
        return weights, None if bias is None else given.get("beta", 1.0) * bias

    def _channels_last(self, node: onnx.NodeProto) -> bool | None:
        """Whether a pooling over height and width has the channels last; None if it is none."""
        if node.op_type in {"GlobalAveragePool", "AveragePool"}:
            return False
        if node.op_type != "ReduceMean":
            return None
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = given.get("axes")
        if axes is None and len(node.input) > 1:
            axes = self._constant(node.input[1])
        return None if axes is None else AXES.get(frozenset(int(axis) % 4 for axis in axes))

    def _constant(self, tensor: str) -> Values | None:
        """The value of a tensor that does not depend on the picture; None if it does."""
        needed = [tensor]
        for name in needed:  # grows while it is read
            if name == INPUT:
                return None
            node = self._makers.get(name)
            needed += [n for n in node.input if n and n not in needed] if node is not None else []
        graph = self._model.graph
        part = helper.make_graph(
            [node for node in graph.node if set(node.output) & set(needed)],
            "constant",
            [],
            [onnx.ValueInfoProto(name=tensor)],
            [weight for weight in graph.initializer if weight.name in needed],
        )
        model = helper.make_model(part, opset_imports=self._model.opset_import)
        (value,) = ReferenceEvaluator(model).run([tensor], {})
        return np.asarray(value, np.float64)
