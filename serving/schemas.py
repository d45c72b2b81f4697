"""The answers, as pydantic models that the server serialises and the client parses."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from artifacts import InputPolicy
from artifacts.drift_distances import Distance
from artifacts.known.record import KnownRecord, SetsRecord
from artifacts.manifest import DatasetRecord, Metric, Parameters, Quantization, Task
from artifacts.reference import Moments, Reference
from artifacts.verification.decision import Verification

NPY = "application/x-npy"
"""Media type of arrays, as `numpy.save` writes them."""

PNG = "image/png"
"""Media type of pictures that the server draws."""

Share = Annotated[float, Field(ge=0, le=1)]


class Answer(BaseModel):
    """Base class of all answers, which are immutable."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Stamp(Answer):
    """The model that gave an answer."""

    name: str
    hash: str = Field(description="sha256 of the ONNX graph that was run")
    synthetic: bool = Field(description="trained on generated pictures: for trying things out only")


class ModelInfo(Answer):
    """Description of a served model."""

    name: str
    task: Task = Field(
        description="classification: each picture has exactly one of the classes; multi-label: it "
        "may have several or none; embedding: pictures are compared"
    )
    hash: str = Field(description="sha256 of the ONNX graph")
    synthetic: bool = Field(description="trained on generated pictures: for trying things out only")
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


class Size(Answer):
    """Size of a picture, in pixels."""

    width: int
    height: int


class Prediction(Answer):
    """One class and its probability."""

    label: str = Field(alias="class")
    probability: Share = Field(
        description="calibrated probability: softmax of logits / temperature; of a multi-label "
        "model, the sigmoid of the logit / temperature"
    )
    threshold: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of a multi-label model: the class is present from this probability on",
    )
    present: bool | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of a multi-label model: whether the probability reaches the threshold",
    )


Verdict = Literal["known", "cannot_say"]


class Worth(Answer):
    """A share of pictures with its 95 % interval (Wilson)."""

    share: Share
    low: Share
    high: Share
    pictures: int = Field(description="number of pictures that it was measured on")
    data: tuple[str, ...] = Field(description="names of their data sets")


class Verdicts(Answer):
    """What the verdicts of an answer are worth."""

    offered: bool = Field(description="whether the pictures have a verdict")
    reason: str | None = Field(
        default=None, exclude_if=lambda v: v is None, description="why they have none"
    )
    method: str | None = Field(default=None, exclude_if=lambda v: v is None)
    keep: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of known pictures that the threshold keeps, as asked by `keep`",
    )
    threshold: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="pictures with a lower score get `cannot_say`",
    )
    kept: Worth | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of known pictures, on which nothing was chosen, that get `known`",
    )
    refused: Worth | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of pictures of other things that get `cannot_say`",
    )
    seen: bool | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="whether the method was chosen and fitted with other pictures of those kinds; "
        "fewer pictures of kinds that it has not seen are refused",
    )


class ClassSet(Answer):
    """The smallest set of classes that holds the truth with a frequency."""

    coverage: Share = Field(
        description="how often such sets hold the true class, over pictures like those calibrated "
        "on; not for each picture or class"
    )
    classes: tuple[str, ...] = Field(
        description="most probable class first; empty if no class is probable enough, as happens "
        "where the coverage is below the accuracy of the model"
    )


class ClassifiedPicture(Answer):
    """The answer for one picture."""

    id: str | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only if the server takes feedback: names this answer at `/v1/feedback`",
    )
    size: Size = Field(description="size as sent, turned upright")
    shown: Size = Field(description="size as the network saw it")
    treatment: str = Field(
        examples=[
            "shown as it is",
            "rescaled 1024x768 -> 74x55",
            "rescaled 500x375 -> 341x256, cropped to 224x224",
            "inverted, cropped to the drawing 112x180 at (40, 60), scaled to 12x20, centred",
        ]
    )
    top: tuple[Prediction, ...] = Field(
        description="most probable class first; of a multi-label model, the classes asked for by "
        "`top` and every other class that is present"
    )
    verdict: Verdict | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="whether the picture is like those that the model knows; only of models with "
        "`verdicts`, which say what this is worth",
    )
    score: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of the model's validation pictures that look no more familiar",
    )
    class_set: ClassSet | None = Field(
        default=None,
        alias="set",
        exclude_if=lambda v: v is None,
        description="only if `coverage` is given",
    )


class Classification(Answer):
    """Answer to `classify`: one entry for each picture, in the order sent."""

    task: Literal["multi-label"] | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of a multi-label model: every class has a probability of its own, so "
        "that the probabilities of a picture do not sum to one, and a picture may have several "
        "classes or none",
    )
    feedback: Literal["labels", "pictures"] | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only if the server takes feedback: whether it keeps pictures sent with it",
    )
    model: Stamp
    provider: str
    verdicts: Verdicts | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of models that were calibrated for verdicts",
    )
    pictures: tuple[ClassifiedPicture, ...]


class Features(Answer):
    """Answer to `features`: one row of D floats for each picture, in the order sent."""

    model: Stamp
    provider: str
    features: list[list[float]]


class Layer(Answer):
    """Exact zeros after one activation."""

    name: str
    operator: str = Field(examples=["Relu"])
    channels: int
    zeros: Share = Field(description="share of exact zeros over channels, positions and pictures")
    channel_zeros: tuple[Share, ...] = Field(
        description="the same share for each channel; exactly 1 means that the channel is zero on "
        "every picture"
    )
    small: Share | None = Field(
        description="share of values nearer to zero than epsilon; null for activations that are "
        "exactly zero on a range of inputs"
    )


class Inspection(Answer):
    """Answer to `inspect`: activations in the order in which the network computes them.

    Each picture has the same weight, whatever its size.
    """

    model: Stamp
    provider: str
    pictures: int = Field(description="number of pictures over which the shares are averaged")
    epsilon: float = Field(description="values nearer to zero than this count as small")
    layers: tuple[Layer, ...]


class Rectangle(Answer):
    """A rectangle, in pixels of the picture as sent, turned upright; its sides may be fractions."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.right, self.bottom


class Explanation(Answer):
    """Answer to `explain`: which parts of a picture speak for a class, and which against it."""

    model: Stamp
    provider: str
    method: Literal["class-activation-map", "occlusion"] = Field(
        description="class-activation-map: what the places of the last maps add to the logit, "
        "exactly; occlusion: how much the logit falls if the surroundings of a place are hidden"
    )
    label: str = Field(alias="class")
    probability: Share = Field(description="as in the answer to `classify`")
    logit: float = Field(
        description="of a classifier, less the mean logit of all classes, on which the "
        "probabilities do not depend; of a multi-label model, the logit itself"
    )
    bias: float | None = Field(
        description="only of a class-activation-map: the part of the logit that does not depend on "
        "the picture. The logit is the mean of the map plus the bias"
    )
    size: Size = Field(description="size as sent, turned upright")
    shown: Size = Field(description="size as the network saw it")
    treatment: str = Field(description="how the picture was prepared")
    seen: Rectangle = Field(description="the part of the picture that the network saw")
    frame: Rectangle = Field(
        description="what the map covers evenly; it exceeds the picture where that was padded"
    )
    map: tuple[tuple[float, ...], ...] = Field(
        description="contributions to the logit, row by row from the top; positive numbers speak "
        "for the class"
    )

    @property
    def grid(self) -> npt.NDArray[np.float64]:
        """The map as an array, h x w."""
        return np.array(self.map, np.float64)


class Drift(Answer):
    """Answer to `drift`: how far the recent answers are from those on the reference pictures."""

    model: Stamp
    data: str | None = Field(
        default=None, description="the reference pictures, with which the recent ones are compared"
    )
    answers: int = Field(default=0, description="number of recent pictures")
    workers: int = Field(
        default=0,
        description="number of workers that have answered; about the last thousand pictures of "
        "each are counted",
    )
    distances: tuple[Distance, ...] = ()
    missing: str | None = Field(
        default=None, description="why there are no distances; null if there are"
    )
    reference: Reference | None = Field(default=None, description="only with moments=true")
    moments: Moments | None = Field(default=None, description="only with moments=true")


class Point(Answer):
    """A place on the map of an atlas."""

    x: Share = Field(description="distance from the left edge, as a share of the width")
    y: Share = Field(description="distance from the top edge, as a share of the height")


class AtlasPicture(Point):
    """One picture of an atlas, and its place on the map."""

    label: str = Field(description="class of the picture; empty if it is not known")
    predicted: str = Field(
        description="the class that the model finds most probable; of a multi-label model, the "
        "classes that it finds present, joined by |"
    )


class Atlas(Answer):
    """The atlas of a model: pictures on a map, among which others find their neighbours."""

    model: Stamp
    data: str = Field(description="where the pictures are from")
    side: int = Field(
        description="side of a picture on the sheet, in pixels; the sheet shows all pictures in "
        "this order"
    )
    columns: int = Field(description="number of pictures in a row of the sheet")
    pictures: tuple[AtlasPicture, ...]


class Neighbour(Answer):
    """A picture of the atlas or of an index that is like the one that was sent."""

    rank: int = Field(description="1 for the nearest picture, 2 for the next")
    number: int = Field(description="index of the picture in the atlas or the index, from 0")
    label: str = Field(description="class of the picture; empty if it is not known")
    distance: float | None = Field(
        default=None, description="Euclidean distance between the features; null for an index"
    )
    path: str | None = Field(
        default=None,
        description="path of the picture below the folder that was indexed; null for an atlas",
    )
    similarity: float | None = Field(
        default=None,
        description="cosine of the angle between the features, -1 to 1; null for an atlas",
    )


class Neighbourhood(Answer):
    """The neighbours of one picture."""

    place: Point | None = Field(
        default=None,
        description="place on the map of the atlas, the median of those of the ten nearest "
        "pictures; null for an index",
    )
    nearest: tuple[Neighbour, ...] = Field(description="nearest first")


class Neighbours(Answer):
    """Answer to `neighbours`: one entry for each picture, in the order sent."""

    model: Stamp
    provider: str
    index: str | None = Field(
        default=None, description="the index that was searched; null for the atlas"
    )
    pictures: tuple[Neighbourhood, ...]


class ProblemDocument(Answer):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    picture: int | None = Field(default=None, description="index of the picture at fault, from 0")
