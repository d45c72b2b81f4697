"""Makes a graph of 8-bit integers (static quantization), and keeps it where it pays.

Weights are rounded by channel, activations by tensor, with ranges seen on training pictures, as
ONNX Runtime does it (QDQ format; Jacob et al. 2018, arXiv 1712.05877). What little it costs to
keep in float32 stays so: normalisation, first layer and head, where rounding does most harm.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from artifacts.artifact import INT8_FILE, MODEL_FILE, Artifact
from artifacts.datasets import ImageSet, load
from artifacts.errors import ArtifactError, VitrineError
from artifacts.graph import INPUT, OUTPUTS, load_graph
from artifacts.manifest import Measured, Quantization
from artifacts.provenance import hardware, has_integer_arithmetic
from artifacts.runtime import Picture, Runtime

CALIBRATION_SAMPLES = 300
TOLERANCE = 0.005
"""Accuracy that may be lost to speed."""
BATCHES = (1, 16)
"""Sizes of the batches whose speed is measured."""
ROUNDS = 40
CHUNK = 512
OPSET = 13
"""The first whose QuantizeLinear knows channels."""

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
LOGITS = OUTPUTS["classification"]
CLIPPING = frozenset({"Relu", "Clip"})
QUANTIZED = sorted(WEIGHTED | CLIPPING | {"Add", "MaxPool"})
"""Operators that ONNX Runtime computes in integers."""


def quantize(artifact: Artifact, dataset: str | None = None) -> Quantization:
    """Measure a classifier in float32 and in 8-bit integers, and record both in its manifest.

    `model.int8.onnx` joins the artifact if it is faster at every size of batch and at most
    `TOLERANCE` less accurate on the test pictures. It is served from then on, on processors with
    arithmetic for it.

    Args:
        artifact: verified; it is replaced by one of the same name.
        dataset: name of its data set; by default the one its manifest names.

    Returns:
        What the manifest now says about both.

    Raises:
        ArtifactError: not a classifier, a graph with nothing to gain, or a processor without
            8-bit arithmetic.
        DataError: the data set is not there.
    """
    if not has_integer_arithmetic():
        raise ArtifactError(
            "this processor has no arithmetic of 8-bit integers (AVX-512 VNNI, AVX-VNNI or "
            "ASIMDDP): they would be less accurate and hardly faster. Quantize where it has."
        )
    manifest = artifact.manifest
    dataset = dataset or (manifest.dataset.name if manifest.dataset else None)
    if manifest.task != "classification":
        raise ArtifactError(f"{manifest.name} is no classifier: its loss could not be measured.")
    if dataset is None:
        raise ArtifactError(
            f"{manifest.name} does not say what it was trained on; name it with --dataset."
        )
    train, test = (load(dataset, split) for split in ("train", "test"))
    if test.classes != manifest.classes:
        raise ArtifactError(f"{dataset} has other classes than {manifest.name}.")
    train = train.head(CALIBRATION_SAMPLES)

    files = artifact.contents()
    files.pop(INT8_FILE, None)
    fp32 = Runtime(files[MODEL_FILE], manifest.input, threads=1)
    prepared = (fp32.prepare(picture) for picture in train.images)
    graph = int8_graph(artifact.path / MODEL_FILE, prepared)
    before, after = measure([fp32, Runtime(graph, manifest.input, threads=1)], test)
    served = pays(before, after)
    if served:
        files[INT8_FILE] = graph
    record = Quantization(
        served=served,
        calibration=f"{dataset}:train",
        calibration_samples=len(train),
        test=f"{dataset}:test",
        test_samples=len(test),
        hardware=hardware(),
        fp32=before,
        int8=after,
    )
    changed = manifest.model_copy(update={"quantization": record})
    artifact.rewrite(changed, files)
    return record


def pays(fp32: Measured, int8: Measured) -> bool:
    """Whether the integers are faster at every size of batch, and accurate enough."""
    speeds = int8.pictures_per_second
    faster = all(speeds[batch] > speed for batch, speed in fp32.pictures_per_second.items())
    return faster and round(fp32.accuracy - int8.accuracy, 6) <= TOLERANCE


def int8_graph(path: Path, pictures: Iterable[Picture]) -> bytes:
    """Quantize a graph that keeps the contract of `artifacts.graph`; so does the one returned.

    Args:
        path: of the graph in float32.
        pictures: prepared by the input policy, uint8 H x W x 3, to take the ranges from.

    Raises:
        ArtifactError: of an opset before `OPSET`, without a layer that would change, or beyond
            what ONNX Runtime can quantize.
    """
    opset = next(o.version for o in load_graph(path).opset_import if o.domain in {"", "ai.onnx"})
    if opset < OPSET:
        raise ArtifactError(
            f"{path}: its opset is {opset}; 8-bit weights by channel need {OPSET} or later. "
            "Export the model again."
        )
    try:
        model = _quantized(path, pictures)
    except VitrineError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises whatever it stumbles over
        raise ArtifactError(f"{path}: ONNX Runtime cannot quantize it: {error}") from None
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ArtifactError(f"{path}: no layer but the first and the head; nothing to quantize.")
    _join_activations(model.graph)
    used = {node.domain for node in model.graph.node} | {""}
    for unused in [o for o in model.opset_import if o.domain not in used]:
        model.opset_import.remove(unused)
    return model.SerializeToString()


def _quantized(path: Path, pictures: Iterable[Picture]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        inferred, quantized = Path(folder, "inferred.onnx"), Path(folder, "quantized.onnx")
        # symbolic inference fails on graphs of any size; ONNX's own is enough
        quant_pre_process(path, inferred, skip_symbolic_shape=True)
        model = load_graph(inferred)
        for node in model.graph.node:
            node.name = node.name or node.output[0]
        quantize_static(
            model,
            quantized,
            _Calibration(pictures),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=list(_left_alone(model.graph)),
            # the activations stay in the graph, where `inspect` looks for them
            extra_options={"QDQKeepRemovableActivations": True},
        )
        return load_graph(quantized)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Pictures one by one, for they may differ in size."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._pictures = iter(pictures)

    def get_next(self) -> dict[str, Picture] | None:
        picture = next(self._pictures, None)
        return None if picture is None else {INPUT: picture[None]}


def _left_alone(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the nodes up to the first layer, and of those behind the features."""
    head = {"features"}
    begun = False
    for node in graph.node:
        behind = not head.isdisjoint(node.input)
        if behind:
            head.update(node.output)
        if behind or not begun:
            yield node.name
        begun = begun or node.op_type in WEIGHTED


def _join_activations(graph: onnx.GraphProto) -> None:
    """Take out the rounding between a layer and its ReLU, so that both are one operation."""
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    for node in list(graph.node):
        if node.op_type not in CLIPPING:
            continue
        restored = makers.get(node.input[0])
        if restored is None or restored.op_type != "DequantizeLinear":
            continue
        rounded = makers[restored.input[0]]
        layer = makers.get(rounded.input[0])
        alone = uses[restored.output[0]] == uses[rounded.output[0]] == 1
        if alone and layer is not None and layer.op_type in WEIGHTED | {"Add"}:
            node.input[0] = rounded.input[0]
            graph.node.remove(restored)
            graph.node.remove(rounded)


def measure(runtimes: Sequence[Runtime], test: ImageSet) -> list[Measured]:
    """Accuracy and speed of runtimes of one input policy, side by side."""
    right = np.zeros(len(runtimes), int)
    prepared: list[Picture] = []
    for start in range(0, len(test), CHUNK):
        places = range(start, min(start + CHUNK, len(test)))
        prepared = [runtimes[0].prepare(test.images[i]) for i in places]
        for number, runtime in enumerate(runtimes):
            logits = runtime.run(prepared, [LOGITS])[LOGITS]
            right[number] += (logits.argmax(1) == test.labels[places]).sum()
    speeds = {batch: _speeds(runtimes, prepared[0], batch) for batch in BATCHES}
    return [
        Measured(
            accuracy=round(right[number] / len(test), 6),
            pictures_per_second={b: round(speeds[b][number], 1) for b in BATCHES},
        )
        for number in range(len(runtimes))
    ]


def _speeds(runtimes: Sequence[Runtime], picture: Picture, batch: int) -> npt.NDArray[np.float64]:
    """Pictures per second of each runtime, taken in turn, in its fastest round."""
    images = np.repeat(picture[None], batch, axis=0)  # (batch, H, W, 3)
    seconds = np.empty((ROUNDS, len(runtimes)))
    for row in seconds:
        for number, runtime in enumerate(runtimes):
            start = time.perf_counter()
            runtime.run_batch(images, [LOGITS])
            row[number] = time.perf_counter() - start
    speeds: npt.NDArray[np.float64] = batch / seconds.min(axis=0)
    return speeds
