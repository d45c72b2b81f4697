"""The contract that a served ONNX graph fulfils, and the adaptation of foreign graphs to it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from artifacts.errors import ArtifactError
from artifacts.manifest import Manifest

INPUT = "images"
STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
OUTPUTS = {"classification": "logits", "embedding": "embedding"}
"""Required output of each task. The output `features` (N x D, the head's input) is optional."""


def load_graph(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without opening any file that it refers to.

    Raises:
        ArtifactError: the file is not ONNX, has external data, or uses an operator outside the
            standard domains.
    """
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ArtifactError(f"{path}: not readable as ONNX ({error}).") from None
    if not model.graph.node:
        raise ArtifactError(f"{path}: not an ONNX model: it has no nodes.")
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ArtifactError(
                f"{path}: weight {tensor.name!r} lies in another file; only self-contained models "
                "are accepted. Save the model without external data (onnx.save's default)."
            )
    local = {(function.domain, function.name) for function in model.functions}
    for node in _all_nodes(model):
        if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in local:
            raise ArtifactError(
                f"{path}: operator {node.domain}::{node.op_type} is not a standard ONNX operator; "
                "only the domains ai.onnx and ai.onnx.ml are accepted."
            )
    return model


def check_graph(path: Path, manifest: Manifest) -> None:
    """Check that a model file fulfils the contract for the task of its manifest.

    Raises:
        ArtifactError: see `load_graph`; or the inputs or outputs are not those of the task.
    """
    graph = load_graph(path).graph
    inputs = _real_inputs(graph)
    if [i.name for i in inputs] != [INPUT]:
        raise ArtifactError(
            f"{path}: inputs {[i.name for i in inputs]}; exactly one, {INPUT!r}, is expected."
        )
    tensor = inputs[0].type.tensor_type
    dims = tensor.shape.dim
    if tensor.elem_type != TensorProto.UINT8 or len(dims) != 4 or dims[3].dim_value != 3:  # noqa: PLR2004
        raise ArtifactError(f"{path}: {INPUT!r} must be uint8 with shape N x H x W x 3.")
    allowed = {0, 1} if manifest.input.batch == "one" else {0}
    if dims[0].dim_value not in allowed or bool(dims[1].dim_value) != bool(dims[2].dim_value):
        raise ArtifactError(
            f"{path}: {INPUT!r} must have a dynamic N, or N = 1 if `batch` in the manifest's input "
            "policy is one, and either both or neither of H and W fixed; export the model with "
            "dynamic axes."
        )
    outputs = {o.name for o in graph.output}
    needed = OUTPUTS[manifest.task]
    if needed not in outputs:
        raise ArtifactError(
            f"{path}: task {manifest.task} needs an output {needed!r}; the graph has "
            f"{sorted(outputs)}."
        )
    size = (dims[1].dim_value, dims[2].dim_value)
    if all(size) and manifest.input.fixed_size != size:
        raise ArtifactError(
            f"{path}: the graph only takes {size[0]}x{size[1]} (height x width), but `fixed_size` "
            f"in the manifest's input policy is {manifest.input.fixed_size}."
        )


def adapt(
    model: onnx.ModelProto, task: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> onnx.ModelProto:
    """Give a foreign graph the input and the outputs of the contract.

    A graph that already takes uint8 N x H x W x 3 keeps its input. In front of a graph that takes
    float N x 3 x H x W, scaling to 0..1, normalisation and transposition are inserted. A softmax
    at the end of a classifier is removed, because logits are divided by a temperature before it.

    Args:
        model: changed in place; its first output becomes the output of the task.
        task: classification or embedding.
        mean: means of R, G and B, of pixel values scaled to 0..1.
        std: standard deviations of R, G and B, of pixel values scaled to 0..1.

    Raises:
        ArtifactError: the graph has no output, or not exactly one input, or an input of another
            type or rank; or `std` is not positive.
    """
    graph = model.graph
    for name in (INPUT, "features", *OUTPUTS.values()):
        _rename(graph, name, f"foreign_{name}")
    inputs = _real_inputs(graph)
    if len(inputs) != 1:
        raise ArtifactError(
            f"the model has {len(inputs)} inputs; export it with exactly one, the pictures."
        )
    if not graph.output:
        raise ArtifactError(
            "the model has no output; export it with the logits or the embedding as the first one."
        )
    foreign = inputs[0]
    dims = foreign.type.tensor_type.shape.dim
    kind = foreign.type.tensor_type.elem_type
    if kind == TensorProto.UINT8 and len(dims) == 4 and dims[3].dim_value == 3:  # noqa: PLR2004
        _rename(graph, foreign.name, INPUT)
    elif kind == TensorProto.FLOAT and len(dims) == 4 and dims[1].dim_value == 3:  # noqa: PLR2004
        _normalise(graph, foreign, mean, std)
    else:
        raise ArtifactError(
            f"input {foreign.name!r} is neither uint8 N x H x W x 3 nor float N x 3 x H x W; "
            "export the model with one of these."
        )
    head = graph.output[0]
    if task == "classification":
        _remove_softmax(graph, head)
    features = _head_input(graph, head.name) if task == "classification" else None
    _rename(graph, head.name, OUTPUTS[task])
    del graph.output[1:]
    if features is not None:
        graph.node.append(helper.make_node("Identity", [features], ["features"]))
        graph.output.append(
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", "D"])
        )
    return model


def _remove_softmax(graph: onnx.GraphProto, output: onnx.ValueInfoProto) -> None:
    last = next((node for node in graph.node if output.name in node.output), None)
    if last is not None and last.op_type == "Softmax":
        output.name = last.input[0]
        graph.node.remove(last)


def _normalise(
    graph: onnx.GraphProto,
    foreign: onnx.ValueInfoProto,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    if min(std) <= 0:
        raise ArtifactError(f"std is {std}; expected three numbers above 0.")
    # (x / 255 - mean) / std as one multiplication and one addition
    scale = 1.0 / (255.0 * np.array(std, np.float32))
    shift = -np.array(mean, np.float32) / np.array(std, np.float32)
    graph.initializer.extend(
        [
            numpy_helper.from_array(scale.astype(np.float32), "vitrine_scale"),
            numpy_helper.from_array(shift.astype(np.float32), "vitrine_shift"),
        ]
    )
    preprocessing = [
        helper.make_node("Cast", [INPUT], ["vitrine_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["vitrine_float", "vitrine_scale"], ["vitrine_scaled"]),
        helper.make_node("Add", ["vitrine_scaled", "vitrine_shift"], ["vitrine_nhwc"]),
        helper.make_node("Transpose", ["vitrine_nhwc"], [foreign.name], perm=[0, 3, 1, 2]),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*preprocessing, *rest])
    n, _, h, w = foreign.type.tensor_type.shape.dim
    shape = [d.dim_value or d.dim_param or name for d, name in ((n, "N"), (h, "H"), (w, "W"))]
    graph.input.remove(foreign)
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [*shape, 3]))


def _head_input(graph: onnx.GraphProto, output: str) -> str | None:
    """Return the input of the last linear layer, or None if the graph does not end in one."""
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(output)
    weights = {tensor.name for tensor in graph.initializer}
    if node is not None and node.op_type == "Add":
        operand = next((name for name in node.input if name not in weights), "")
        node = producers.get(operand)
    if node is not None and node.op_type in {"Gemm", "MatMul"}:
        return str(node.input[0])
    return None


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor wherever it is computed, used or described."""
    # a subgraph may use tensors of the graph that contains it
    for node in _nodes(graph.node):
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    inputs_and_outputs = [*graph.input, *graph.output, *graph.value_info]
    described: list[onnx.ValueInfoProto | TensorProto] = [*inputs_and_outputs, *graph.initializer]
    for value in described:
        if value.name == old:
            value.name = new


def _real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    # old exporters list weights among the inputs
    weights = {tensor.name for tensor in graph.initializer}
    return [i for i in graph.input if i.name not in weights]


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the graph, of the model's own functions, and of all their subgraphs."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield all weights and constants of a model, including those of its subgraphs."""
    yield from _weights(model.graph)
    for node in _all_nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _weights(inner)


def _weights(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
