"""The contract that a served ONNX graph fulfils."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from artifacts.errors import ArtifactError
from artifacts.manifest import Manifest, Task

INPUT = "images"
STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
OUTPUTS: dict[Task, str] = {
    "classification": "logits",
    "multi-label": "logits",
    "embedding": "embedding",
}
"""Required output of each task. The output `features` (N x D, the head's input) is optional."""


def load_graph(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without opening any file that it refers to.

    Raises:
        ArtifactError: the file is not ONNX, has external data, or uses an operator outside the
            standard domains.
    """
    model = parse(path)
    for tensor in all_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ArtifactError(
                f"{path}: weight {tensor.name!r} lies in another file; only self-contained models "
                "are accepted. Save the model without external data (onnx.save's default)."
            )
    return model


def parse(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, whose weights may lie in other files, without opening those.

    Raises:
        ArtifactError: the file is not ONNX, or uses an operator outside the standard domains.
    """
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ArtifactError(f"{path}: not readable as ONNX ({error}).") from None
    if not model.graph.node:
        raise ArtifactError(f"{path}: not an ONNX model: it has no nodes.")
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


def _real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    # old exporters list weights among the inputs
    weights = {tensor.name for tensor in graph.initializer}
    return [i for i in graph.input if i.name not in weights]


def nested_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes, each followed by those of its subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from nested_nodes(graph.node)


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the graph, of the model's own functions, and of all their subgraphs."""
    yield from nested_nodes(model.graph.node)
    for function in model.functions:
        yield from nested_nodes(function.node)


def all_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
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
