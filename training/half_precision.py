"""Stores weights in half precision and computes in single: half the file, the same answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from artifacts import InputPolicy, Runtime, probabilities
from artifacts.graph import OUTPUTS
from artifacts.manifest import Task
from artifacts.pictures import Picture
from artifacts.sessions import cpu_session

MIN_SIZES = (1024, 131_072)
"""Minimum numbers of elements of a tensor to store in half precision, in the order in which they
are tried. The second one only takes the few largest tensors, which are most of the file."""
TOLERANCE = 1e-3
"""Maximum difference of a probability, or of an embedding relative to the longest one."""
MAX_COMPARED = 500
"""Maximum number of pictures on which the answers are compared."""
SUFFIX = ".half"
"""Ends the name of a stored weight; the tensor used in the computation keeps its name."""


def halve_if_accurate(
    graph: bytes,
    policy: InputPolicy,
    pictures: Sequence[Picture] | Picture,
    task: Task = "classification",
) -> bytes:
    """Store a graph's weights in half precision if its answers stay the same within `TOLERANCE`.

    They are compared on the CPU, so that the graph does not depend on the machine that made it: a
    GPU rounds its inputs as coarsely as half precision does.

    Args:
        graph: Serialized ONNX, in float32.
        policy: How pictures become its input.
        pictures: uint8 H x W x 3, of any sizes; the first `MAX_COMPARED` are compared.
        task: Task of the model, which says how logits become probabilities.

    Returns:
        The changed graph, or the given one if its answers would change.
    """
    shown = [pictures[i] for i in range(min(MAX_COMPARED, len(pictures)))]
    before = answers(graph, policy, shown, task)
    for min_size in MIN_SIZES:
        halved = halve(graph, min_size)
        if np.abs(answers(halved, policy, shown, task) - before).max() <= TOLERANCE:
            return halved
    return graph


def halve(graph: bytes, min_size: int = MIN_SIZES[0]) -> bytes:
    """Store float32 weights with at least `min_size` elements as float16, each with a Cast.

    ONNX Runtime folds the casts when it loads the graph, so it computes as fast as before. Weights
    beyond the range of float16 (65,504) are left unchanged. Without any other weights, the graph is
    returned as given.
    """
    model = onnx.load_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < min_size:
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


def stored_weights(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Return a graph's tensors, in the precision in which they are stored.

    The keys are the names that the computation uses, without the `SUFFIX` of those in half.
    """
    return {
        tensor.name.removesuffix(SUFFIX): numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
    }


def answers(
    graph: bytes,
    policy: InputPolicy,
    pictures: Sequence[Picture],
    task: Task = "classification",
) -> npt.NDArray[np.float64]:
    """Return a graph's probabilities N x C, or embeddings N x D relative to the longest one."""
    runtime = Runtime(graph, policy, engine=cpu_session)
    output = next(name for name in OUTPUTS.values() if name in runtime.output_names)
    rows = runtime.run(pictures, [output])[output]
    if output == OUTPUTS["classification"]:
        return probabilities(rows, 1.0, task)
    longest = (
        float(np.linalg.norm(rows, axis=1).max()) or 1.0
    )  # a collapsed network may return only zeros
    return rows.astype(np.float64) / longest
