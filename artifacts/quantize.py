"""Quantizes a graph to 8-bit integers (static quantization), and serves it if that is faster.

Weights are quantized per channel and activations per tensor, with ranges calibrated on training
pictures, by ONNX Runtime (QDQ format; Jacob et al. 2018, arXiv 1712.05877). Normalisation, the
first layer and the head stay in float32: they cost little time, and rounding harms them most.
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
from artifacts.manifest import Manifest, Measured, Quantization
from artifacts.multi_label import mean_average_precision
from artifacts.pictures import Picture
from artifacts.provenance import hardware, has_integer_arithmetic
from artifacts.runtime import Runtime, probabilities
from artifacts.sessions import cpu_session

CALIBRATION_SAMPLES = 300
TOLERANCE = 0.005
"""Maximum loss of accuracy for which the int8 graph is served."""
BATCHES = (1, 16)
"""Batch sizes at which the speed is measured."""
ROUNDS = 40
"""Repetitions of a measurement of speed."""
CHUNK = 512
"""Number of test pictures held in memory at once."""
MIN_OPSET = 13
"""First opset whose QuantizeLinear supports quantization per channel."""

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
LOGITS = OUTPUTS["classification"]
CLIPPING = frozenset({"Relu", "Clip"})
QUANTIZED = sorted(WEIGHTED | CLIPPING | {"Add", "MaxPool"})
"""Operators that are quantized."""


def quantize(artifact: Artifact, dataset: str | None = None) -> Quantization:
    """Measure a classifier in float32 and in 8-bit integers, and record both in its manifest.

    `model.int8.onnx` is added to the artifact if it is faster at every batch size and at most
    `TOLERANCE` less accurate on the test pictures (of a multi-label model, neither the accuracy nor
    the mean average precision may fall by more). From then on it is served on processors that
    have instructions for 8-bit integers.

    Args:
        artifact: verified artifact; it is rewritten in place.
        dataset: name of the data set; by default the one that the manifest names.

    Returns:
        The record that the manifest now contains.

    Raises:
        ArtifactError: the model is not a classifier, its graph cannot be quantized, the data set
            does not fit it, or the processor has no instructions for 8-bit integers.
        DataError: the data set cannot be read.
    """
    if not has_integer_arithmetic():
        raise ArtifactError(
            "this processor has no instructions for 8-bit integers (AVX-512 VNNI, AVX-VNNI or "
            "ASIMDDP): the model would be less accurate and hardly faster. Quantize it on a "
            "processor that has them."
        )
    manifest = artifact.manifest
    if manifest.task == "embedding":
        raise ArtifactError(
            f"{manifest.name} is not a classifier; only the accuracy of classifiers is measured."
        )
    dataset = dataset or own_dataset(manifest)
    train, test = (load(dataset, split) for split in ("train", "test"))
    if test.classes != manifest.classes:
        raise ArtifactError(
            f"{dataset} has other classes than {manifest.name}; name its own data set with "
            "--dataset."
        )
    if test.multi_label != (manifest.task == "multi-label"):
        have = "any number of labels" if test.multi_label else "one label each"
        raise ArtifactError(
            f"the pictures of {dataset} have {have}, which does not fit {manifest.name}; name its "
            "own data set with --dataset."
        )
    train = train.head(CALIBRATION_SAMPLES)

    files = artifact.contents()
    files.pop(INT8_FILE, None)
    # integers answer on CPUs alone, so that both are measured there, even beside a GPU
    fp32 = Runtime(files[MODEL_FILE], manifest.input, threads=1, engine=cpu_session)
    prepared = (fp32.prepare(picture) for picture in train.images)
    graph = int8_graph(artifact.path / MODEL_FILE, prepared)
    int8 = Runtime(graph, manifest.input, threads=1, engine=cpu_session)
    before, after = measure([fp32, int8], test, manifest)
    served = is_worthwhile(before, after)
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


def own_dataset(manifest: Manifest) -> str:
    """Return the name of the data set that a model was trained on.

    Raises:
        ArtifactError: the manifest does not say.
    """
    if manifest.dataset is None:
        raise ArtifactError(
            f"the manifest of {manifest.name} does not say what it was trained on; name the data "
            "set with --dataset."
        )
    return manifest.dataset.name


def is_worthwhile(fp32: Measured, int8: Measured) -> bool:
    """Return whether the int8 graph is faster at every batch size and accurate enough."""
    speeds = int8.pictures_per_second
    faster = all(speeds[batch] > speed for batch, speed in fp32.pictures_per_second.items())
    lost = [fp32.accuracy - int8.accuracy]
    if fp32.mean_average_precision is not None and int8.mean_average_precision is not None:
        lost.append(fp32.mean_average_precision - int8.mean_average_precision)
    return faster and round(max(lost), 6) <= TOLERANCE


def int8_graph(path: Path, pictures: Iterable[Picture]) -> bytes:
    """Quantize a graph; it and the result fulfil the contract of `artifacts.graph`.

    Args:
        path: file of the float32 graph.
        pictures: calibration pictures, prepared by the input policy, uint8 H x W x 3 each.

    Returns:
        The serialized int8 graph.

    Raises:
        ArtifactError: the opset is older than `MIN_OPSET`, the graph has no layer to quantize, or
            ONNX Runtime cannot quantize it.
    """
    opset = next(o.version for o in load_graph(path).opset_import if o.domain in {"", "ai.onnx"})
    if opset < MIN_OPSET:
        raise ArtifactError(
            f"{path}: its opset is {opset}; 8-bit weights per channel need opset {MIN_OPSET} or "
            "later. Export the model again."
        )
    try:
        model = _quantized(path, pictures)
    except VitrineError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises exceptions of all kinds
        raise ArtifactError(f"{path}: ONNX Runtime cannot quantize it: {error}") from None
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ArtifactError(
            f"{path}: the graph has only a first layer and a head; nothing to quantize."
        )
    _fuse_activations(model.graph)
    return serialized(model)


def inferred_graph(path: Path) -> onnx.ModelProto:
    """Read a graph, fold its constants, and give every node a name and every tensor a type."""
    with tempfile.TemporaryDirectory() as folder:
        inferred = Path(folder, "inferred.onnx")
        # symbolic shape inference fails if height and width are dynamic; that of ONNX is enough
        quant_pre_process(path, inferred, skip_symbolic_shape=True)
        model = load_graph(inferred)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    return model


def serialized(model: onnx.ModelProto) -> bytes:
    """Serialize a graph without the sets of operators that it does not use."""
    used = {node.domain for node in model.graph.node} | {""}
    for unused in [o for o in model.opset_import if o.domain not in used]:
        model.opset_import.remove(unused)
    return model.SerializeToString()


def _quantized(path: Path, pictures: Iterable[Picture]) -> onnx.ModelProto:
    model = inferred_graph(path)
    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder, "quantized.onnx")
        quantize_static(
            model,
            quantized,
            _Calibration(pictures),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=list(kept_in_float32(model.graph)),
            # `inspect` reads the activations from the graph, so that they must stay in it
            extra_options={"QDQKeepRemovableActivations": True},
        )
        return load_graph(quantized)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration pictures one by one, because they may differ in size."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._pictures = iter(pictures)

    def get_next(self) -> dict[str, Picture] | None:
        picture = next(self._pictures, None)
        return None if picture is None else {INPUT: picture[None]}


def kept_in_float32(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of the nodes up to the first layer, and of those that follow the features."""
    head = {"features"}
    begun = False
    for node in graph.node:
        behind = not head.isdisjoint(node.input)
        if behind:
            head.update(node.output)
        if behind or not begun:
            yield node.name
        begun = begun or node.op_type in WEIGHTED


def _fuse_activations(graph: onnx.GraphProto) -> None:
    """Remove the quantization between a layer and its ReLU, so that ONNX Runtime fuses the two."""
    producers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    for node in list(graph.node):
        if node.op_type not in CLIPPING:
            continue
        dequantize = producers.get(node.input[0])
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        quantize = producers[dequantize.input[0]]
        layer = producers.get(quantize.input[0])
        used_once = uses[dequantize.output[0]] == uses[quantize.output[0]] == 1
        if used_once and layer is not None and layer.op_type in WEIGHTED | {"Add"}:
            node.input[0] = quantize.input[0]
            graph.node.remove(dequantize)
            graph.node.remove(quantize)


def measure(runtimes: Sequence[Runtime], test: ImageSet, manifest: Manifest) -> list[Measured]:
    """Measure the accuracy and the speed of runtimes that share an input policy.

    Args:
        runtimes: one for each graph to compare.
        test: labelled pictures.
        manifest: the manifest of the model, which has its temperature and thresholds.

    Returns:
        The measurements in the order of `runtimes`.
    """
    rows: list[list[npt.NDArray[np.float32]]] = [[] for _ in runtimes]
    prepared: list[Picture] = []
    for start in range(0, len(test), CHUNK):
        places = range(start, min(start + CHUNK, len(test)))
        prepared = [runtimes[0].prepare(test.images[i]) for i in places]
        for chunks, runtime in zip(rows, runtimes, strict=True):
            chunks.append(runtime.run(prepared, [LOGITS], prepared=True)[LOGITS])
    speeds = {batch: measure_speeds(runtimes, prepared[0], batch) for batch in BATCHES}
    return [
        Measured(
            **_scores(np.concatenate(chunks), test, manifest),
            pictures_per_second={b: round(speeds[b][number], 1) for b in BATCHES},
        )
        for number, chunks in enumerate(rows)
    ]


def _scores(
    logits: npt.NDArray[np.float32], test: ImageSet, manifest: Manifest
) -> dict[str, float]:
    """Return the accuracy, and of a multi-label model also the mean average precision."""
    if manifest.task != "multi-label":
        return {"accuracy": round(float((logits.argmax(1) == test.labels).mean()), 6)}
    truth = test.labels > 0
    shares = probabilities(logits, manifest.temperature, manifest.task)
    right = (shares >= np.array(manifest.thresholds)) == truth
    return {
        "accuracy": round(float(right.mean()), 6),
        "mean_average_precision": round(mean_average_precision(shares, truth), 6),
    }


def measure_speeds(
    runtimes: Sequence[Runtime], picture: Picture, batch: int, output: str = LOGITS
) -> npt.NDArray[np.float64]:
    """Return the pictures per second of each runtime in its fastest round; rounds alternate.

    Args:
        runtimes: one for each graph to compare.
        picture: prepared, uint8 H x W x 3.
        batch: number of pictures in a call.
        output: what is computed.
    """
    images = np.repeat(picture[None], batch, axis=0)  # (batch, H, W, 3)
    seconds = np.empty((ROUNDS, len(runtimes)))
    for row in seconds:
        for number, runtime in enumerate(runtimes):
            start = time.perf_counter()
            runtime.run_batch(images, [output])
            row[number] = time.perf_counter() - start
    speeds: npt.NDArray[np.float64] = batch / seconds.min(axis=0)
    return speeds
