"""Tiny any-size networks written node by node: tests need a graph, not a training run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from artifacts import Artifact, Manifest, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.atlas import ATLAS_FILE, SHEET_FILE, Atlas, draw_sheet
from artifacts.pictures import Picture

CLASSES = ("red", "green", "blue")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tiny_model(classes: int = len(CLASSES), seed: int = 0) -> onnx.ModelProto:
    """uint8 N x H x W x 3 -> conv -> ReLU -> conv -> ReLU -> GAP -> linear; channel 0 is dead."""
    random = np.random.default_rng(seed)
    bias = np.zeros(8, np.float32)
    bias[0] = -1e6  # the first channel of the first layer never fires
    weights = {
        "scale": np.array(1 / 255, np.float32),
        "w1": random.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32),
        "b1": bias,
        "w2": random.normal(0, 0.3, (16, 8, 3, 3)).astype(np.float32),
        "w3": random.normal(0, 1, (16, classes)).astype(np.float32),
        "b3": np.zeros(classes, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu_1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu_2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "w3", "b3"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 16]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def one_at_a_time() -> onnx.ModelProto:
    """Return `tiny_model` as some exporters leave it: it takes exactly one picture."""
    model = tiny_model()
    pooled = next(node for node in model.graph.node if node.op_type == "Flatten")
    pooled.CopyFrom(helper.make_node("Reshape", ["pooled", "one_row"], ["features"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 16]), "one_row"))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model


def dataset_record(name: str, *, synthetic: bool) -> dict[str, Any]:
    """Return a manifest's record of a data set with this name."""
    return {
        "name": name,
        "fingerprint": "0" * 64,
        "synthetic": synthetic,
        "train_samples": 1,
        "validation_samples": 1,
    }


def tiny_artifact(root: Path, name: str = "tiny", **fields: Any) -> Artifact:
    """Save `tiny_model`, or `graph`, as an artifact under `root`.

    The other `fields` override the manifest's.
    """
    classes = fields.setdefault("classes", CLASSES)
    graph = fields.pop("graph", None) or tiny_model(len(classes))
    manifest = Manifest.build(
        **{
            "name": name,
            "task": "classification",
            "code_version": "test",
            "created": datetime(2026, 1, 1, tzinfo=UTC),
            "temperature": 2.0,
            "input": {"native_side": (16, 64)},
            **fields,
        }
    )
    return Artifact.save(manifest, {"model.onnx": graph.SerializeToString()}, root)


def with_atlas(artifact: Artifact, pictures: Sequence[Picture]) -> Artifact:
    """Save the artifact with an atlas that has these pictures on a line from left to right."""
    vectors = Runtime.open(artifact).run(pictures, ["features"])["features"]
    count = len(pictures)
    atlas = Atlas(
        graph=artifact.manifest.files[MODEL_FILE],
        data=f"made, {count} pictures",
        side=16,
        labels=tuple(f"label {i}" for i in range(count)),
        predicted=("",) * count,
        places=np.stack([np.linspace(0, 1, count), np.full(count, 0.5)], 1).astype(np.float32),
        vectors=vectors,
    )
    files = {ATLAS_FILE: atlas.content(), SHEET_FILE: draw_sheet(pictures, 16)}
    return artifact.rewrite(artifact.manifest, artifact.contents() | files)


def embedding_model(dimension: int = 16, cells: int = 8, middle: float = 0.5) -> onnx.ModelProto:
    """uint8 N x H x W x 3 -> what `cells` x `cells` places show, mixed: similar pictures are near.

    A picture that is `middle` (of 0 to 1) all over gets the embedding 0.
    """
    random = np.random.default_rng(7)
    mixing = random.normal(0, 1, (3 * cells * cells, dimension)).astype(np.float32)
    weights = {
        "scale": np.array(1 / 255, np.float32),
        "middle": np.array(middle, np.float32),
        "size": np.array([1, 3, cells, cells], np.int64),
        "two": np.array([2], np.int64),
        "four": np.array([4], np.int64),
        "mixing": mixing / np.float32(np.sqrt(len(mixing))),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "middle"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Shape", ["nchw"], ["batch"], start=0, end=2),
        helper.make_node("Slice", ["size", "two", "four"], ["grid"]),
        helper.make_node("Concat", ["batch", "grid"], ["sizes"], axis=0),
        helper.make_node(
            "Resize", ["nchw", "", "", "sizes"], ["small"], mode="linear", antialias=1
        ),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mixing"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", dimension])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


THRESHOLDS = (
    {"target_fmr": 1e-2, "distance": 0.2, "fmr": 0.009, "fmr_interval": (0.007, 0.012)},
    {"target_fmr": 1e-3, "distance": 0.1, "fmr": 0.0009, "fmr_interval": (0.0005, 0.0014)},
)


def face_artifact(
    root: Path, name: str = "faces", dimension: int = 16, middle: float = 0.5, **fields: Any
) -> Artifact:
    """Save `embedding_model` as an artifact that serves faces; `fields` override the manifest's."""
    manifest = Manifest.build(
        **{
            "name": name,
            "task": "embedding",
            "route": "faces",
            "code_version": "test",
            "created": datetime(2026, 1, 1, tzinfo=UTC),
            "verification": {"metric": "euclidean", "thresholds": THRESHOLDS},
            **fields,
        }
    )
    content = embedding_model(dimension, middle=middle).SerializeToString()
    return Artifact.save(manifest, {"model.onnx": content}, root)


def foreign_model(
    input_name: str = "x", outputs: tuple[str, ...] = ("y",), batch: int | str = "N"
) -> onnx.ModelProto:
    """Float N x 3 x H x W -> conv -> ReLU -> GAP -> linear: 5 outputs, as others export it."""
    random = np.random.default_rng(1)
    weights = {
        "w": random.normal(0, 0.4, (6, 3, 3, 3)).astype(np.float32),
        "head": random.normal(0, 1, (6, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", [input_name, "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["p"]),
        helper.make_node("Flatten", ["p"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], [outputs[0]]),
    ]
    if len(outputs) > 1:
        nodes.append(helper.make_node("Softmax", [outputs[0]], [outputs[1]]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, 3, "H", "W"])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 5]) for n in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
