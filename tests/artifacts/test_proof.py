"""What a graph is found to take."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from artifacts import ArtifactError, InputPolicy
from artifacts.proof import prove
from tests.graphs import one_at_a_time, tiny_model


def flattened(side: int) -> onnx.ModelProto:
    """Return a graph that declares any size, but flattens the feature maps of one size."""
    model = tiny_model()
    cells = (side // 2) ** 2
    random = np.random.default_rng(0)
    weights = random.normal(0, 0.1, (16 * cells, 3)).astype(np.float32)
    for node in list(model.graph.node):
        if node.op_type == "GlobalAveragePool":
            model.graph.node.remove(node)
        if node.op_type == "Flatten":
            node.input[0] = "r2"
    kept = next(t for t in model.graph.initializer if t.name == "w3")
    kept.CopyFrom(numpy_helper.from_array(weights, "w3"))
    del model.graph.output[1:]
    return model


def mixing() -> onnx.ModelProto:
    """Return a graph that subtracts the mean of the batch, as batch normalisation does."""
    model = tiny_model()
    last = model.graph.node[-1]
    last.output[0] = "raw"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axes"))
    model.graph.node.append(helper.make_node("ReduceMean", ["raw", "axes"], ["mean"], keepdims=1))
    model.graph.node.append(helper.make_node("Sub", ["raw", "mean"], ["logits"]))
    return model


def joining() -> onnx.ModelProto:
    """Return a graph that gives one row, whatever the batch."""
    model = tiny_model()
    model.graph.node[-1].output[0] = "raw"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "one_row"))
    model.graph.node.append(helper.make_node("Reshape", ["raw", "one_row"], ["logits"]))
    return model


@pytest.mark.parametrize(
    ("model", "policy"),
    [
        (tiny_model(), InputPolicy()),
        (tiny_model(), InputPolicy(native_side=(16, 64))),
        (tiny_model(), InputPolicy(fixed_size=(24, 24), resize="crop", resize_to=28)),
        (flattened(32), InputPolicy(fixed_size=(32, 32))),
        (one_at_a_time(), InputPolicy(batch="one")),
        (mixing(), InputPolicy(batch="one")),
    ],
)
def test_what_a_policy_allows_is_taken(model: onnx.ModelProto, policy: InputPolicy) -> None:
    prove(model.SerializeToString(), policy)


def test_a_size_that_is_only_declared_needs_to_be_fixed() -> None:
    graph = flattened(64).SerializeToString()
    with pytest.raises(ArtifactError, match=r"fails on a picture of 8x8.*but takes 64x64") as told:
        prove(graph, InputPolicy())
    assert "needs a fixed size, although it declares any height and width" in str(told.value)
    with pytest.raises(ArtifactError, match="it needs a fixed size"):
        prove(graph, InputPolicy(native_side=(20, 30)))
    with pytest.raises(ArtifactError, match=r"fails on a picture of 32x32 .* state the size"):
        prove(graph, InputPolicy(fixed_size=(32, 32)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (one_at_a_time, "fails on a batch of 3"),
        (joining, r"shape \(1, 9\) instead of \(3, 3\)"),
        (mixing, "changes with the other pictures of a batch"),
    ],
)
def test_a_batch_that_is_not_answered_as_its_pictures_is_refused(
    make: Callable[[], onnx.ModelProto], reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason) as told:
        prove(make().SerializeToString(), InputPolicy())
    assert "batch: one" in str(told.value)
