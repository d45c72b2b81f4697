"""Weights stored in half precision and used in single: half the file, and the same answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from artifacts import InputPolicy, Runtime, probabilities
from artifacts.graph import OUTPUTS
from artifacts.runtime import Picture

LEAST = (1024, 131_072)
"""Numbers of a tensor that is worth it: first all, and if that changes answers the largest alone,
which are few layers and most of the file."""
TOLERANCE = 1e-3
"""Greatest difference of a probability; of an embedding, relative to the longest."""
COMPARED = 500
"""Pictures on which the answers are compared."""
SUFFIX = ".half"
"""Of a stored weight; the tensor that is used keeps its name."""


def lean(graph: bytes, policy: InputPolicy, pictures: Sequence[Picture] | Picture) -> bytes:
    """The graph with its weights in half precision if its answers stay, else as it is.

    Args:
        graph: serialized ONNX, in float32.
        policy: how pictures become its input.
        pictures: uint8 H x W x 3, of any sizes; the first `COMPARED` are shown to both.
    """
    shown = [pictures[i] for i in range(min(COMPARED, len(pictures)))]
    before = answers(graph, policy, shown)
    for least in LEAST:
        halved = halve(graph, least)
        if np.abs(answers(halved, policy, shown) - before).max() <= TOLERANCE:
            return halved
    return graph


def halve(graph: bytes, least: int = LEAST[0]) -> bytes:
    """Store float32 weights of `least` numbers and more as float16, with a Cast behind each.

    ONNX Runtime folds the casts when it opens the graph: it computes as fast as before. Weights
    beyond float16's range (65,504) stay as they are; a graph without others is returned as given.
    """
    model = onnx.load_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < least:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name, stored = tensor.name, tensor.name + SUFFIX
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], stored, to=TensorProto.FLOAT))
    if not casts:
        return graph
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    return bytes(model.SerializeToString())


def answers(
    graph: bytes, policy: InputPolicy, pictures: Sequence[Picture]
) -> npt.NDArray[np.float64]:
    """What a graph answers: probabilities N x C; embeddings N x D relative to the longest."""
    runtime = Runtime(graph, policy)
    output = next(name for name in OUTPUTS.values() if name in runtime.output_names)
    rows = runtime.run(pictures, [output])[output]
    if output == OUTPUTS["classification"]:
        return probabilities(rows, 1.0)
    longest = float(np.linalg.norm(rows, axis=1).max()) or 1.0  # dead embeddings are all zero
    return rows.astype(np.float64) / longest
