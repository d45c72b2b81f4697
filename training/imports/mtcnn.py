"""Converts the face detector MTCNN to ONNX, with the weights of `facenet-pytorch` (MIT).

`pip download --no-deps facenet-pytorch` downloads the package. Its folder `facenet_pytorch/data`
holds `pnet.pt`, `rnet.pt` and `onet.pt`, and `vitrine train import-mtcnn FOLDER` writes the
graphs to `artifacts/faces`. MTCNN is described by Zhang, Zhang, Li and Qiao 2016, arXiv
1604.02878.
"""

import pickle
import struct
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper

from artifacts.errors import ArtifactError
from artifacts.faces.detector import FOLDER, NETWORKS
from artifacts.graph import INPUT
from training.imports.graph_builder import Builder

MEAN, SCALE = 127.5, 128.0
READ_ERRORS = (OSError, EOFError, KeyError, RuntimeError, struct.error, pickle.UnpicklingError)
"""Exceptions raised for a file that is missing, is damaged, or holds other weights."""
POOLS = {"pnet": (2, None, None), "rnet": (3, 3, None), "onet": (3, 3, 2, None)}
"""Kernel side of the max-pooling (stride 2) behind each convolution; None: no pooling."""
HEADS = {
    "pnet": {"probability": "conv4_1", "offsets": "conv4_2"},
    "rnet": {"probability": "dense5_1", "offsets": "dense5_2"},
    "onet": {"probability": "dense6_1", "offsets": "dense6_2", "landmarks": "dense6_3"},
}
"""Outputs of each network and the layer that computes each."""


def build_graph(name: str, state: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """Build one of the three networks, which takes uint8 N x H x W x 3, RGB.

    Args:
        name: pnet (any size, outputs N x C x h x w), rnet (24 x 24, outputs N x C) or onet
            (48 x 48, outputs N x C).
        state: Its weights by layer.
    """
    build = Builder()
    x = build.pixels(INPUT, MEAN, SCALE)
    for number, pool in enumerate(POOLS[name], 1):
        x = _activated(build, state, number, _layer(build, state, f"conv{number}", x))
        if pool:
            x = build.add("MaxPool", x, kernel_shape=[pool] * 2, strides=[2, 2], ceil_mode=1)
    if name != "pnet":
        number = len(POOLS[name]) + 1
        # the weights expect the order columns, rows, channels
        x = build.add("Flatten", build.add("Transpose", x, perm=[0, 3, 2, 1]))
        x = _activated(build, state, number, _layer(build, state, f"dense{number}", x))
    for output, layer in HEADS[name].items():
        y = _layer(build, state, layer, x)
        if output == "probability":
            y = build.add("Softmax", y, axis=1)
        build.rename(y, output)
    side: Any = NETWORKS[name]
    sides = [side, side] if side else ["H", "W"]
    graph = helper.make_graph(
        build.nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *sides, 3])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in HEADS[name]],
        build.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _layer(build: Builder, state: dict[str, torch.Tensor], layer: str, x: str) -> str:
    weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
    inputs = (x, build.weight(weight.numpy()), build.weight(bias.numpy()))
    if layer.startswith("conv"):
        return build.add("Conv", *inputs)
    return build.add("Gemm", *inputs, transB=1)


def _activated(build: Builder, state: dict[str, torch.Tensor], number: int, x: str) -> str:
    """Add the parametric ReLU behind layer `number`, which has a slope per channel."""
    slopes = state[f"prelu{number}.weight"].numpy()
    if f"conv{number}.weight" in state:
        slopes = slopes[:, None, None]
    return build.add("PRelu", x, build.weight(slopes))


def import_mtcnn(folder: Path, target: Path = FOLDER) -> None:
    """Convert the three files of weights in `folder` to graphs in `target`.

    Raises:
        ArtifactError: A file is missing or does not hold the network's weights.
    """
    for name in NETWORKS:
        file = folder / f"{name}.pt"
        try:
            state = torch.load(file, weights_only=True)
            graph = build_graph(name, state)
        except READ_ERRORS as error:
            raise ArtifactError(
                f"{file}: not the weights of {name} ({error}); give the folder "
                "facenet_pytorch/data of the package facenet-pytorch."
            ) from None
        (target / f"{name}.onnx").write_bytes(graph.SerializeToString())
