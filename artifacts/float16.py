"""Makes a graph that computes in float16, for GPUs, and serves it there if it is faster.

ONNX Runtime's converter rounds the weights and inserts the casts. Normalisation, the first layer
and the head of a classifier compute in float32, as in `artifacts.quantize`, and all outputs are
float32. float16 has 11 bits of precision and ends at 65,504: a network whose activations exceed
that gives infinity, so the answers are compared before the graph is served.
"""

from onnxruntime.transformers.onnx_model import OnnxModel

from artifacts.agreement import MAX_COMPARED, Rows, compare
from artifacts.artifact import FLOAT16_FILE, MODEL_FILE, Artifact
from artifacts.datasets import load
from artifacts.devices import CPU, current, gpu_name
from artifacts.errors import ArtifactError, VitrineError
from artifacts.graph import OUTPUTS
from artifacts.manifest import Manifest
from artifacts.pictures import Picture
from artifacts.provenance import hardware
from artifacts.providers import Float16Record, ProviderRecord
from artifacts.quantize import (
    BATCHES,
    WEIGHTED,
    inferred_graph,
    kept_in_float32,
    measure_speeds,
    own_dataset,
    serialized,
)
from artifacts.runtime import Runtime
from artifacts.sessions import cpu_session


def add_float16(artifact: Artifact, dataset: str | None = None) -> Float16Record:
    """Compare a model in float16 on this machine's GPU with float32, and record the result.

    `model.float16.onnx` is added to the artifact if its answers on the GPU agree with those of the
    float32 graph on the CPU, by the tolerances of `artifacts.agreement`, and if it is faster than
    the float32 graph on the GPU at every batch size. From then on it is served on this provider.

    Args:
        artifact: verified artifact; it is rewritten in place.
        dataset: name of the data set, of whose test pictures at most `MAX_COMPARED` are compared;
            by default the one that the manifest names.

    Returns:
        The record that the manifest now contains.

    Raises:
        ArtifactError: no GPU is used here, the graph cannot be converted, or the manifest names no
            data set.
        DataError: the data set cannot be read.
    """
    device = current()
    if not device.on_gpu:
        reason = f" ({device.problem})" if device.problem else ""
        raise ArtifactError(
            f"graphs in float16 answer on GPUs only, and no GPU is used here{reason}. Run this on "
            "the machine that will serve the model."
        )
    manifest = artifact.manifest
    dataset = dataset or own_dataset(manifest)
    test = load(dataset, "test").head(MAX_COMPARED)
    files = artifact.contents()
    files.pop(FLOAT16_FILE, None)
    graph = float16_graph(artifact)
    runtimes = [Runtime(each, manifest.input, threads=1) for each in (files[MODEL_FILE], graph)]
    if any(runtime.provider == CPU for runtime in runtimes):
        raise ArtifactError(
            "ONNX Runtime opened the graph on the CPU instead of the GPU; nothing was written. Set "
            "VITRINE_DEVICE=cuda, so that the reason is shown."
        )
    reference = Runtime(files[MODEL_FILE], manifest.input, engine=cpu_session)
    pictures = [reference.prepare(test.images[i]) for i in range(len(test))]
    agreement = _compare(reference, runtimes[1], pictures, manifest)
    speeds = _speeds(runtimes, pictures[0], manifest) if agreement.agrees else ({}, {})
    served = agreement.agrees and all(speeds[1][n] > speed for n, speed in speeds[0].items())
    if served:
        files[FLOAT16_FILE] = graph
    record = Float16Record(
        served=served,
        data=f"{dataset}:test",
        hardware=f"{gpu_name()}, {hardware()}".removeprefix(", "),
        agreement=agreement,
        fp32_pictures_per_second=speeds[0],
        float16_pictures_per_second=speeds[1],
    )
    artifact.rewrite(manifest.model_copy(update={"float16": record}), files)
    return record


def float16_graph(artifact: Artifact) -> bytes:
    """Convert a model's float32 graph; it and the result fulfil the contract of `artifacts.graph`.

    Returns:
        The serialized float16 graph.

    Raises:
        ArtifactError: the graph has no layer to convert, or ONNX Runtime cannot convert it.
    """
    path = artifact.path / MODEL_FILE
    try:
        model = inferred_graph(path)
        kept = set(kept_in_float32(model.graph))
        convertible = any(
            node.op_type in WEIGHTED and node.name not in kept for node in model.graph.node
        )
        converter = OnnxModel(model)
        converter.convert_float_to_float16(
            use_symbolic_shape_infer=False, keep_io_types=True, node_block_list=list(kept)
        )
        converter.topological_sort()
        # the converter leaves the former types of some tensors there
        del converter.model.graph.value_info[:]
    except VitrineError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises exceptions of all kinds
        raise ArtifactError(f"{path}: ONNX Runtime cannot convert it: {error}") from None
    if not convertible:
        raise ArtifactError(
            f"{path}: the graph has only a first layer and a head; nothing to compute in float16."
        )
    return serialized(converter.model)


def _compare(
    reference: Runtime, float16: Runtime, pictures: list[Picture], manifest: Manifest
) -> ProviderRecord:
    """Compare the answers in float16 on the GPU with those in float32 on the CPU."""
    output = OUTPUTS[manifest.task]

    def answers(runtime: Runtime) -> Rows:
        return runtime.run(pictures, [output], prepared=True)[output]

    expected = answers(reference)
    try:
        found = answers(float16)
    except Exception as error:  # noqa: BLE001 - a provider may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return ProviderRecord(
            provider=float16.provider, pictures=len(pictures), agrees=False, error=reason
        )
    return compare(float16.provider, expected, found, manifest.task)


def _speeds(
    runtimes: list[Runtime], picture: Picture, manifest: Manifest
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the pictures per second in float32 and in float16, by batch size."""
    output = OUTPUTS[manifest.task]
    rows = {batch: measure_speeds(runtimes, picture, batch, output) for batch in BATCHES}
    one, other = ({b: round(float(rows[b][i]), 1) for b in BATCHES} for i in (0, 1))
    return one, other
