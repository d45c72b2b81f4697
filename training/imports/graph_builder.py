"""Builds an ONNX graph node by node."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """The nodes and weights of a graph, added in the order of execution."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its only output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def weight(self, values: npt.NDArray[np.generic]) -> str:
        """Add a constant; returns its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def half(self, values: npt.NDArray[np.float32]) -> str:
        """Add a constant, stored in half and used in single precision; returns its name."""
        return self.add("Cast", self.weight(values.astype(np.float16)), to=TensorProto.FLOAT)

    def pixels(self, source: str, mean: object, scale: float) -> str:
        """Add the conversion of uint8 N x H x W x 3 to float N x 3 x H x W, (x - mean) / scale."""
        floats = self.add("Cast", source, to=TensorProto.FLOAT)
        centred = self.add("Sub", floats, self.weight(np.array(mean, np.float32)))
        scaled = self.add("Div", centred, self.weight(np.array(scale, np.float32)))
        return self.add("Transpose", scaled, perm=[0, 3, 1, 2])

    def rename(self, name: str, new: str) -> None:
        """Rename a tensor in all nodes, for example to the name of an output of the graph."""
        for node in self.nodes:
            node.input[:] = [new if each == name else each for each in node.input]
            node.output[:] = [new if each == name else each for each in node.output]
