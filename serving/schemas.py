"""The answers, as typed models: what handlers serialise, the client parses and OpenAPI shows."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from artifacts import InputPolicy
from artifacts.drift_distances import Distance
from artifacts.manifest import DatasetRecord, Metric, Parameters, Quantization
from artifacts.reference import Moments, Reference
from artifacts.verification.decision import Verification

Share = Annotated[float, Field(ge=0, le=1)]


class Answer(BaseModel):
    """Base of all answers: immutable."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Stamp(Answer):
    """The model that gave an answer."""

    name: str
    hash: str = Field(description="sha256 of the ONNX graph that was run")
    synthetic: bool = Field(description="trained on generated pictures: for trying things out only")


class ModelInfo(Answer):
    """What is known about a model that is served."""

    name: str
    task: Literal["classification", "embedding"]
    hash: str = Field(description="sha256 of the ONNX graph")
    synthetic: bool = Field(description="trained on generated pictures: for trying things out only")
    provider: str = Field(
        description="CUDAExecutionProvider, CPUExecutionProvider, OpenVINO bf16 or OpenVINO f32"
    )
    route: str | None = Field(description="route that it can serve besides its own name")
    classes: tuple[str, ...]
    outputs: tuple[str, ...] = Field(description="outputs of the graph")
    input: InputPolicy
    temperature: float = Field(description="logits are divided by it before softmax")
    verification: Verification | None = Field(
        description="of an embedding: metric, and thresholds by target false-match rate"
    )
    dataset: DatasetRecord | None
    parameters: Parameters | None
    metrics: tuple[Metric, ...]
    quantization: Quantization | None = Field(
        description="accuracy and speed in float32 and in 8-bit integers, and whether the second "
        "are served; null where it was not tried"
    )


class UnavailableModel(Answer):
    """An artifact that is there, but cannot be served."""

    name: str
    reason: str


class ModelList(Answer):
    """All artifacts of the server."""

    models: tuple[ModelInfo, ...]
    unavailable: tuple[UnavailableModel, ...]
    defaults: dict[str, str] = Field(
        description="by route: the model that answers where no ?model= is given"
    )


class Size(Answer):
    """Of a picture, in pixels."""

    width: int
    height: int


class Prediction(Answer):
    """One class and how likely the model finds it."""

    label: str = Field(alias="class")
    probability: Share = Field(description="calibrated: softmax of logits / temperature")


class ClassifiedPicture(Answer):
    """The answer to one picture."""

    size: Size = Field(description="as sent, turned upright")
    shown: Size = Field(description="as the network saw it")
    treatment: str = Field(examples=["shown as it is", "rescaled 1024x768 -> 74x55"])
    top: tuple[Prediction, ...] = Field(description="most probable class first")


class Classification(Answer):
    """Answer to `classify`: one entry for each picture, in the order sent."""

    model: Stamp
    provider: str
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
        description="the same by channel; exactly 1 is a channel that is dead on every picture"
    )
    small: Share | None = Field(
        description="share of values nearer to zero than epsilon; null where zeros are exact"
    )


class Inspection(Answer):
    """Answer to `inspect`: activation layers in the order in which the network computes them.

    Each picture counts alike, whatever its size.
    """

    model: Stamp
    provider: str
    pictures: int = Field(description="number of pictures the shares are over")
    epsilon: float = Field(description="values nearer to zero count as small in smooth layers")
    layers: tuple[Layer, ...]


class Drift(Answer):
    """Answer to `drift`: how far the last answers lie from what the model was validated on."""

    model: Stamp
    data: str | None = Field(default=None, description="pictures that it is compared with")
    answers: int = Field(default=0, description="pictures that the distances are over")
    workers: int = Field(
        default=0, description="that have answered, of each of which the last thousand or so count"
    )
    distances: tuple[Distance, ...] = ()
    missing: str | None = Field(default=None, description="why there are no distances")
    reference: Reference | None = Field(default=None, description="only with moments=true")
    moments: Moments | None = Field(default=None, description="only with moments=true")


class Point(Answer):
    """A place on the map of an atlas."""

    x: Share = Field(description="from the left")
    y: Share = Field(description="from the top")


class AtlasPicture(Point):
    """One picture of an atlas."""

    label: str = Field(description="its class; empty where that is not known")
    predicted: str = Field(description="the class that the model finds likeliest")


class Atlas(Answer):
    """Pictures of a model on a map, among which others find their neighbours."""

    model: Stamp
    data: str = Field(description="which pictures")
    side: int = Field(description="of a picture on the sheet, which shows all in this order, px")
    columns: int = Field(description="pictures in a row of the sheet")
    pictures: tuple[AtlasPicture, ...]


class Neighbour(Answer):
    """A picture of the atlas, and how far its features lie."""

    number: int = Field(description="of the picture in the atlas, from 0")
    label: str
    distance: float = Field(description="Euclidean, between features")


class Neighbourhood(Answer):
    """Where one picture lies."""

    place: Point = Field(description="median of the places of its ten nearest pictures")
    nearest: tuple[Neighbour, ...] = Field(description="nearest first")


class Neighbours(Answer):
    """Answer to `neighbours`: one entry for each picture, in the order sent."""

    model: Stamp
    provider: str
    pictures: tuple[Neighbourhood, ...]


class ProblemDocument(Answer):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    picture: int | None = Field(default=None, description="index of the picture at fault, from 0")
