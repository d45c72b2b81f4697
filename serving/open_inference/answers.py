"""What the protocol says of models, and the outputs that they give.

| task | outputs |
|---|---|
| classification | `probabilities` FP32 [N, C], `class` BYTES [N] |
| classification, with verdicts | also `verdict` BYTES [N] and `score` FP32 [N] |
| multi-label | `probabilities` FP32 [N, C] and `present` BOOL [N, C] |
| embedding | `embedding` FP32 [N, D] |
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts import probabilities
from artifacts.graph import INPUT, OUTPUTS
from artifacts.runtime import Outputs
from serving.inference.models import Models
from serving.inference.results import classify_outputs
from serving.inference.served_model import ServedModel
from serving.inference.verdicts import verdicts
from serving.open_inference.requests import Asked
from serving.open_inference.schemas import ModelMetadata, RequestOutput, TensorMetadata
from serving.open_inference.tensors import Tensor, strings
from serving.problems import RequestError
from serving.schemas import Classification

PLATFORM = "onnx_onnxv1"
"""What the protocol calls a model in ONNX."""
PROBABILITIES = "probabilities"


def metadata(models: Models, model: ServedModel) -> ModelMetadata:
    """Describe a model."""
    name, _ = name_and_version(model)
    begin = f"{name}@"
    return ModelMetadata(
        name=name,
        versions=tuple(n.removeprefix(begin) for n in models.served if n.startswith(begin)),
        platform=PLATFORM,
        inputs=(TensorMetadata(name=INPUT, datatype="UINT8", shape=(-1, -1, -1, 3)),),
        outputs=tuple(_outputs(model).values()),
    )


def name_and_version(model: ServedModel) -> tuple[str, str | None]:
    """Return the name of a model without its version, and the version if it has one."""
    name, _, version = model.name.partition("@")
    return name, version or None


def graph_outputs(model: ServedModel) -> tuple[str, ...]:
    """Return the outputs of the graph that `outputs` needs."""
    if model.manifest.task == "embedding":
        return (OUTPUTS["embedding"],)
    return classify_outputs(model)


def check_outputs(model: ServedModel, asked: Asked) -> list[RequestOutput]:
    """Return the outputs that are wanted.

    Raises:
        RequestError: the model does not give one of them, or not in the form asked for.
    """
    given = _outputs(model)
    if asked.outputs is None:
        return [RequestOutput(name=name) for name in given]
    for wanted in asked.outputs:
        if wanted.name not in given:
            raise RequestError(
                "bad-inference-request",
                f"{model.name!r} has no output {wanted.name[:40]!r}; it has {', '.join(given)}.",
            )
        if wanted.parameters.classification is not None and wanted.name != PROBABILITIES:
            raise RequestError(
                "bad-inference-request",
                f"the parameter `classification` is for the output {PROBABILITIES!r}.",
            )
    names = [wanted.name for wanted in asked.outputs]
    if len(set(names)) != len(names):
        raise RequestError("bad-inference-request", "an output is asked for twice.")
    return asked.outputs


def outputs(
    model: ServedModel,
    computed: Outputs,
    classified: Classification | None,
    wanted: Sequence[RequestOutput],
    *,
    binary: bool,
) -> list[Tensor]:
    """Return the outputs that are wanted.

    Args:
        model: the model that was run.
        computed: what `graph_outputs` names.
        classified: the most probable class of each picture, with verdicts; None of embeddings.
        wanted: see `check_outputs`.
        binary: whether outputs that do not say otherwise are wanted as binary data.
    """
    values: dict[str, npt.NDArray[Any]] = {}
    if classified is None:
        name = OUTPUTS["embedding"]
        values[name] = computed[name]
    else:
        values = _of_classes(model, computed[OUTPUTS[model.manifest.task]], classified)
    tensors = []
    for each in wanted:
        found = values[each.name]
        if each.parameters.classification is not None:
            found = _most_probable(model, found, each.parameters.classification)
        chosen = each.parameters.binary_data
        tensors.append(Tensor(each.name, found, binary if chosen is None else chosen))
    return tensors


def _outputs(model: ServedModel) -> dict[str, TensorMetadata]:
    """Name, type and shape of what a model gives."""
    classes = len(model.manifest.classes)
    match model.manifest.task:
        case "embedding":
            given = [TensorMetadata(name=OUTPUTS["embedding"], datatype="FP32", shape=(-1, -1))]
        case "multi-label":
            given = [
                TensorMetadata(name=PROBABILITIES, datatype="FP32", shape=(-1, classes)),
                TensorMetadata(name="present", datatype="BOOL", shape=(-1, classes)),
            ]
        case _:
            given = [
                TensorMetadata(name=PROBABILITIES, datatype="FP32", shape=(-1, classes)),
                TensorMetadata(name="class", datatype="BYTES", shape=(-1,)),
            ]
            if model.detector is not None and verdicts(model).offered:
                given += [
                    TensorMetadata(name="verdict", datatype="BYTES", shape=(-1,)),
                    TensorMetadata(name="score", datatype="FP32", shape=(-1,)),
                ]
    return {each.name: each for each in given}


def _of_classes(
    model: ServedModel, logits: npt.NDArray[np.float32], classified: Classification
) -> dict[str, npt.NDArray[Any]]:
    manifest = model.manifest
    shares = probabilities(logits, manifest.temperature, manifest.task)  # (N, C)
    values: dict[str, npt.NDArray[Any]] = {PROBABILITIES: shares.astype(np.float32)}
    pictures = classified.pictures
    if manifest.task == "multi-label":
        values["present"] = shares >= np.array(manifest.thresholds)
        return values
    values["class"] = strings([picture.top[0].label for picture in pictures])
    if pictures[0].verdict is not None:
        values["verdict"] = strings([picture.verdict for picture in pictures])
        values["score"] = np.array([picture.score for picture in pictures], np.float32)
    return values


def _most_probable(
    model: ServedModel, shares: npt.NDArray[Any], count: int
) -> npt.NDArray[np.object_]:
    """Return `PROBABILITY:INDEX:CLASS` of the most probable classes, N x min(count, C)."""
    order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
    names = model.manifest.classes
    return strings(
        [
            [f"{row[index]:f}:{index}:{names[index]}" for index in ranks]
            for row, ranks in zip(shares.tolist(), order.tolist(), strict=True)
        ]
    )
