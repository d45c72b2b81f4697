"""Small foreign networks with any input and any end, and what they answer by themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from artifacts.pictures import Picture

CLASSES = 4
NAMES = "ash,beech,cedar,dogwood"
LOGITS = "y"


def network(
    *end: NodeProto,
    outputs: Sequence[str] = (),
    classes: int = CLASSES,
    batch: int | str = "N",
    size: tuple[int | str, int | str] = ("H", "W"),
    element: int = TensorProto.FLOAT,
    nhwc: bool = False,
    channels: int = 3,
    opset: int = 17,
    output_element: int | None = None,
) -> onnx.ModelProto:
    """Conv -> ReLU -> GAP -> Gemm, whose output is `y`, and the nodes of `end` behind it."""
    random = np.random.default_rng(5)
    kind = helper.tensor_dtype_to_np_dtype(element)
    weights = {
        "w": random.normal(0, 0.5, (6, channels, 3, 3)).astype(kind),
        "head": random.normal(0, 2, (6, classes)).astype(kind),
        "bias": random.normal(0, 1, classes).astype(kind),
    }
    nodes = [
        helper.make_node("Conv", ["nchw", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "bias"], [LOGITS]),
        *end,
    ]
    first = helper.make_node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2])
    nodes.insert(0, first if nhwc else helper.make_node("Identity", ["x"], ["nchw"]))
    shape = [batch, *size, channels] if nhwc else [batch, channels, *size]
    names = outputs or (nodes[-1].output[0],)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info(n, output_element or element, None) for n in names],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    """A node with one output."""
    return helper.make_node(op, inputs, [output], **attributes)


def constant(name: str, value: npt.NDArray[Any]) -> NodeProto:
    """A node that gives a constant."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def own_answer(
    model: onnx.ModelProto, inputs: npt.NDArray[Any], output: str | None = None
) -> npt.NDArray[np.float64]:
    """What a foreign network gives for its own kind of input, one picture at a time."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    wanted = [output or session.get_outputs()[0].name]
    rows = [session.run(wanted, {name: row[None]})[0] for row in inputs]
    return np.concatenate(rows).astype(np.float64)


def photos(count: int = 5, size: tuple[int, int] = (20, 30)) -> list[Picture]:
    """Pictures of noise of different brightness (uint8 H x W x 3)."""
    random = np.random.default_rng(3)
    levels = np.linspace(0.2, 1, count)
    return [(random.uniform(0, 255, (*size, 3)) * level).astype(np.uint8) for level in levels]


def scaled(pictures: Sequence[Picture]) -> npt.NDArray[np.float32]:
    """The input of a network of values 0 to 1, N x 3 x H x W."""
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Softmax over the last axis."""
    shares: npt.NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)
