"""Answers about models."""

from typing import Any, Literal

from pydantic import Field

from artifacts import InputPolicy
from artifacts.known.record import KnownRecord, SetsRecord
from artifacts.manifest import DatasetRecord, Metric, Parameters, Quantization, Task
from artifacts.providers import Float16Record
from artifacts.verification.decision import Verification
from serving.schemas.base import Answer, Share


class ModelInfo(Answer):
    """Description of a served model."""

    name: str
    task: Task = Field(
        description="classification: each picture has exactly one of the classes; multi-label: it "
        "may have several or none; embedding: pictures are compared"
    )
    hash: str = Field(description="sha256 of the ONNX graph")
    synthetic: bool = Field(description="trained on generated pictures: for trying things out only")
    precision: Literal["float32", "int8", "float16"] = Field(
        default="float32",
        description="numeric format of the graph; OpenVINO bf16 computes one in float32 in "
        "bfloat16, and a GPU multiplies in TF32",
    )
    provider: str = Field(
        description="CUDAExecutionProvider, TensorrtExecutionProvider, CPUExecutionProvider, "
        "OpenVINO bf16 or OpenVINO f32; empty if the model is loaded when it is first used"
    )
    route: str | None = Field(description="route that it can serve, in addition to its own name")
    classes: tuple[str, ...]
    outputs: tuple[str, ...] = Field(description="outputs of the graph")
    input: InputPolicy
    temperature: float = Field(
        description="the logits are divided by it before the softmax, or before the sigmoid of a "
        "multi-label model"
    )
    thresholds: tuple[Share, ...] = Field(
        default=(),
        exclude_if=lambda v: not v,
        description="only of a multi-label model: the probability from which on each class counts "
        "as present, in the order of `classes`",
    )
    known: KnownRecord | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="of a classifier that tells pictures of its kinds from others: how, and how "
        "often it is right",
    )
    sets: SetsRecord | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="of a classifier with sets of classes that hold the truth with a chosen "
        "frequency: their calibration",
    )
    verification: Verification | None = Field(
        description="of an embedding model: metric, and thresholds by target false-match rate"
    )
    dataset: DatasetRecord | None
    parameters: Parameters | None
    metrics: tuple[Metric, ...]
    quantization: Quantization | None = Field(
        description="accuracy and speed in float32 and in 8-bit integers, and whether the latter "
        "are served; null if quantization was not tried"
    )
    float16: Float16Record | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="answers and speed in float16 on a GPU, and whether that is served there",
    )


class UnavailableModel(Answer):
    """An artifact that exists but cannot be served."""

    name: str
    reason: str


class DeviceInfo(Answer):
    """What runs the models of a server."""

    asked: str = Field(description="the value of VITRINE_DEVICE")
    used: str = Field(description="cpu, cuda or tensorrt")
    gpus: int = Field(description="number of GPUs in use; 0 on the CPU")
    problem: str = Field(
        description="why the CPU is used although there is a GPU, or an ONNX Runtime for one; "
        "otherwise empty"
    )


class ModelList(Answer):
    """All artifacts of the server."""

    models: tuple[ModelInfo, ...]
    unavailable: tuple[UnavailableModel, ...]
    defaults: dict[str, str] = Field(
        description="for each route that has a model, the one that answers if ?model= is not given"
    )
    device: DeviceInfo | None = Field(
        default=None, description="what runs the models; null from servers that do not say"
    )


class SelectedModels(ModelList):
    """The same with some fields of each model, which were asked for by `?fields=`."""

    models: tuple[dict[str, Any], ...]  # type: ignore[assignment]
