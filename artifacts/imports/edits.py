"""Small edits of ONNX graphs, in place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from artifacts.graph import nested_nodes


def tidy(model: onnx.ModelProto) -> None:
    """Remove what depends on the exporter and has no effect on the answers.

    Weights that are listed among the inputs are constants from here on. Outputs that are inputs or
    weights get a name of their own. A ZipMap, which turns probabilities into dictionaries, is
    removed, so that the probabilities are the output. Declared shapes of intermediate tensors go,
    because they may not hold for the adapted graph.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {sparse.values.name for sparse in graph.sparse_initializer}
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)
    model.ir_version = max(model.ir_version, 4)  # before 4, weights had to be inputs, too
    del graph.value_info[:]
    del graph.quantization_annotation[:]
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        for output in graph.output:
            if output.name == node.output[0]:
                output.CopyFrom(onnx.ValueInfoProto(name=node.input[0]))
        graph.node.remove(node)
    given = weights | {value.name for value in graph.input}
    for output in graph.output:
        if output.name in given:
            output.name = append(graph, "Identity", [output.name], output.name)


def append(graph: onnx.GraphProto, op: str, inputs: list[str], wish: str, **attributes: Any) -> str:
    """Add a node with one output behind all others, and return the name of its output.

    Args:
        graph: changed in place.
        op: operator of the default domain.
        inputs: names of tensors.
        wish: name of the output if it is free; otherwise a similar one is taken.
        **attributes: of the node.
    """
    output = fresh(graph, wish)
    graph.node.append(helper.make_node(op, inputs, [output], **attributes))
    return output


def constant(graph: onnx.GraphProto, value: npt.NDArray[Any], wish: str) -> str:
    """Add a weight and return its name; see `append` for `wish`."""
    name = fresh(graph, wish)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def fresh(graph: onnx.GraphProto, wish: str) -> str:
    """Return a tensor name that no tensor of the graph or of its subgraphs has."""
    used = set(_names(graph))
    number, name = 1, wish
    while name in used:
        number += 1
        name = f"{wish}_{number}"
    return name


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor wherever it is computed, used or described, in subgraphs, too."""
    for inner in _graphs(graph):
        for node in inner.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in (*inner.input, *inner.output, *inner.value_info):
            value.name = new if value.name == old else value.name
        for tensor in inner.initializer:
            tensor.name = new if tensor.name == old else tensor.name
        for sparse in inner.sparse_initializer:
            sparse.values.name = new if sparse.values.name == old else sparse.values.name


def producer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """Return the node that computes a tensor; None for inputs and weights."""
    return next((node for node in graph.node if name in node.output), None)


def is_weight(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a tensor is stored in the graph rather than computed from the input."""
    node = producer(graph, name)
    if node is not None:
        return node.op_type == "Constant"
    return any(tensor.name == name for tensor in graph.initializer)


def prune(graph: onnx.GraphProto) -> None:
    """Remove the nodes and weights that no output depends on."""
    wanted = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            # a subgraph may use tensors of the graph around it
            for inner in nested_nodes([node]):
                wanted.update(inner.input)
            for subgraph in _subgraphs(node):
                wanted.update(output.name for output in subgraph.output)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in wanted]:
        graph.initializer.remove(tensor)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for inner in _graphs(graph):
        for node in inner.node:
            yield from node.input
            yield from node.output
        for value in (*inner.input, *inner.output):
            yield value.name
        for tensor in inner.initializer:
            yield tensor.name
        for sparse in inner.sparse_initializer:
            yield sparse.values.name


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _graphs(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
