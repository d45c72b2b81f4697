"""The manifest: the typed and versioned metadata of an artifact."""

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from artifacts.errors import ArtifactError
from artifacts.input_policy import InputPolicy
from artifacts.known.record import KnownRecord, SetsRecord
from artifacts.providers import Float16Record, ProviderRecord
from artifacts.strict import Strict
from artifacts.verification.decision import Verification

MANIFEST_VERSION: Literal[2] = 2
"""Version that new manifests have. Version 1 had less in its input policy, and is still read."""
INPUT_OF_VERSION_1 = ("accepted_side", "native_side", "fixed_size")
"""Fields of the input policy in manifests of version 1."""
FACES = "faces"
"""The route of models that embed faces. All other routes are of classifiers."""
RESERVED_ROUTES = frozenset({"feedback", "models"})
"""Names under /v1 of the server that are no routes."""
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Task = Literal["classification", "multi-label", "embedding"]
"""What a model answers. classification: exactly one of its classes. multi-label: any number of its
classes, each of which has a probability of its own. embedding: a vector that is compared."""
DEFAULT_THRESHOLD = 0.5
"""Threshold of the classes of a multi-label model for which none was chosen on validation data."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _all_different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("two classes have the same name; every class needs a name of its own")
    return names


def check_route(route: str | None, task: Task) -> str | None:
    """Return the route if a model of this task may have it; None is no route.

    Raises:
        ValueError: it may not; the message says which routes are accepted.
    """
    if route is None:
        return None
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", route) or route in RESERVED_ROUTES:
        raise ValueError(
            "a route has 1 to 40 of a-z, 0-9 and '-', the first a letter or a digit, and is not "
            + " or ".join(map(repr, sorted(RESERVED_ROUTES)))
        )
    if (route == FACES) != (task == "embedding"):
        raise ValueError(
            f"{FACES!r} is the route of embedding models, and their only one; a classifier needs "
            "another"
        )
    return route


class DatasetRecord(Strict):
    """The data that an artifact was trained on."""

    name: str
    fingerprint: Sha256
    """sha256 of the content of the training files, or of the settings of the generator."""
    synthetic: bool
    """Whether the pictures were generated. The model is then for trials only, and is marked so."""
    train_samples: int
    validation_samples: int
    divided: bool = Field(default=False, exclude_if=lambda v: not v)
    """Whether the test pictures were held out of the data set because it has no test split of its
    own. Left out of the JSON if False, so that manifests written before this field existed keep
    their bytes."""


class TeacherRecord(Strict):
    """The artifact whose embeddings or probabilities a model learned."""

    name: str
    title: str
    """What it was made from, and under which terms."""
    graph: Sha256
    """sha256 of its graph."""


class RecipeRecord(Strict):
    """The recipe and the profile that an artifact was trained with."""

    name: str
    profile: Literal["full", "cpu", "smoke"]
    hash: Sha256
    """sha256 of the resolved settings, with the profile applied."""
    code: Sha256
    """sha256 of the source code of the network."""
    study: str | None = None
    """Study whose model the recipe rebuilds."""


class Parameters(Strict):
    """Numbers of weights. Buffers, such as the statistics of batch normalisation, do not count."""

    total: int
    trainable: int


class RunRecord(Strict):
    """How a model was trained: the command, the hardware and the duration."""

    command: str
    hardware: str
    seed: int
    precision: str
    epochs: int
    seconds: float
    """Wall time of all epochs, including validation."""


class Metric(Strict):
    """One figure, measured on the outputs of the exported graph."""

    name: str
    """Such as accuracy (0..1), loss (nats per sample) or ece (15 bins). Of a multi-label model: map
    (mean average precision), f1-macro and f1-micro, and `precision/CLASS` and `recall/CLASS`."""
    value: float
    split: str
    samples: int
    """Number of pictures, or of pairs of pictures. For `precision/CLASS`, the pictures in which the
    model found the class; for `recall/CLASS`, those that have it."""
    size: str | None = None
    """Picture size, `WIDTHxHEIGHT`; None if pictures were used at their original sizes."""


class Measured(Strict):
    """Accuracy and speed of a graph in one numeric format."""

    accuracy: float
    """0..1; of a multi-label model, the share of right decisions about all pictures and classes."""
    mean_average_precision: float | None = Field(default=None, exclude_if=lambda v: v is None)
    """0..1; only of a multi-label model, otherwise left out of the JSON."""
    pictures_per_second: dict[int, float]
    """By batch size, on one thread."""


class Quantization(Strict):
    """The int8 graph compared with the float32 graph it was made from, measured in one run."""

    served: bool
    """Whether `model.int8.onnx` exists and is served in place of `model.onnx`, on processors with
    instructions for 8-bit integers and without a GPU."""
    calibration: str
    """Pictures that the activation ranges were taken from, `NAME:SPLIT`."""
    calibration_samples: int
    test: str
    """Pictures that the accuracy was measured on, `NAME:SPLIT`."""
    test_samples: int
    hardware: str
    fp32: Measured
    int8: Measured


class Manifest(Strict):
    """The metadata of an artifact, stored as canonical JSON beside the model."""

    version: Literal[1, 2] = MANIFEST_VERSION
    name: str = Field(pattern=NAME_PATTERN)
    title: str = Field(default="", exclude_if=lambda v: not v)
    """Description of the model in one line. Left out of the JSON if empty, so that manifests
    written before this field existed keep their bytes."""
    task: Task
    route: str | None = None
    """Purpose whose address the model also serves, independent of its name; see `check_route`."""
    default: bool = False
    """Whether the model is preferred among the models of its route; see `artifacts.routes`."""
    classes: Annotated[tuple[str, ...], AfterValidator(_all_different)] = ()
    input: InputPolicy = InputPolicy()
    temperature: float = Field(default=1.0, gt=0)
    """Divisor of the logits before the softmax (before the sigmoid of a multi-label model), fitted
    on validation data (Guo et al. 2017)."""
    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(), exclude_if=lambda v: not v, validate_default=True
    )
    """One probability for each class of a multi-label model: a class is present in a picture if its
    probability is at least this. Left out of the JSON if empty, so that manifests written before
    this field existed keep their bytes."""
    verification: Verification | None = Field(default=None, exclude_if=lambda v: v is None)
    """How embeddings are compared. Left out of the JSON if None, so that manifests written before
    this field existed keep their bytes."""
    known: KnownRecord | None = Field(default=None, exclude_if=lambda v: v is None)
    """How a classifier tells pictures of its kinds from others, with the arrays in `known.npz`;
    None if that was not fitted."""
    sets: SetsRecord | None = Field(default=None, exclude_if=lambda v: v is None)
    """Calibration of the sets of classes that hold the truth; None if it was not measured."""
    dataset: DatasetRecord | None = None
    recipe: RecipeRecord | None = None
    teacher: TeacherRecord | None = Field(default=None, exclude_if=lambda v: v is None)
    """Whose embeddings it learned. Left out of the JSON if None, so that manifests written before
    this field existed keep their bytes."""
    parameters: Parameters | None = None
    run: RunRecord | None = None
    metrics: tuple[Metric, ...] = ()
    quantization: Quantization | None = Field(default=None, exclude_if=lambda v: v is None)
    float16: Float16Record | None = Field(default=None, exclude_if=lambda v: v is None)
    providers: tuple[ProviderRecord, ...] = Field(default=(), exclude_if=lambda v: not v)
    """Execution providers besides the CPU on which the answers were compared. Left out of the JSON
    if there was none, as on a machine without a GPU."""
    reported: dict[str, float] = Field(default_factory=dict)
    """Figures that the source study reported, by name."""
    code_version: str
    created: datetime
    files: dict[str, Sha256] = Field(default_factory=dict)
    """sha256 of every other file of the artifact, by file name."""
    digest: str = ""
    """sha256 of this manifest with an empty digest, which reveals any change to it."""

    @field_validator("route")
    @classmethod
    def _fits_task(cls, route: str | None, info: ValidationInfo) -> str | None:
        return check_route(route, info.data["task"]) if "task" in info.data else route

    @field_validator("thresholds")
    @classmethod
    def _one_per_class(
        cls, thresholds: tuple[float, ...], info: ValidationInfo
    ) -> tuple[float, ...]:
        multi_label = info.data.get("task") == "multi-label"
        expected = len(info.data.get("classes", ())) if multi_label else 0
        if len(thresholds) != expected:
            raise ValueError(
                f"expected {expected} numbers; a multi-label model has one for each of its "
                "classes, and other models have none"
            )
        return thresholds

    @classmethod
    def build(cls, **fields: Any) -> Self:
        """Make a manifest from its fields.

        Raises:
            ArtifactError: a field is not valid; the message names the first such field.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ArtifactError(_first_problem(error)) from None

    @property
    def synthetic(self) -> bool:
        """Whether the model was trained on generated pictures."""
        return self.dataset is not None and self.dataset.synthetic

    @property
    def main_metric(self) -> str:
        """Name of the metric by which models of this task are compared; embeddings have none."""
        return "map" if self.task == "multi-label" else "accuracy"

    def metric(self, name: str, split: str) -> float | None:
        """Return a metric at the data set's own picture size, or None if it was not measured."""
        for metric in self.metrics:
            if (metric.name, metric.split, metric.size) == (name, split, None):
                return metric.value
        return None

    def sealed(self) -> Self:
        """Return the same manifest with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def canonical(self) -> bytes:
        """Return the canonical JSON of this manifest, the only form that `read` accepts."""
        fields = self.model_dump(mode="json")
        if self.version == 1:
            fields["input"] = {name: fields["input"][name] for name in INPUT_OF_VERSION_1}
        return (json.dumps(fields, indent=1) + "\n").encode()

    def content_digest(self) -> str:
        """Return the sha256 of the canonical form with an empty digest."""
        return hashlib.sha256(self.model_copy(update={"digest": ""}).canonical()).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Parse and check a manifest file.

        Raises:
            ArtifactError: the file is missing, not JSON, of an unknown version, malformed or
                altered.
        """
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(
                f"{path}: missing; a folder without a manifest is not an artifact."
            ) from None
        except OSError as error:
            raise ArtifactError(f"{path}: not JSON ({error}).") from None
        return cls.parse(raw, str(path))

    @classmethod
    def parse(cls, raw: bytes, path: str) -> "Manifest":
        """Parse and check the content of a manifest file; `path` is what messages call it.

        Raises:
            ArtifactError: see `read`.
        """
        fields = _parse_json(raw, path)
        version = fields.get("version")
        if version not in (1, MANIFEST_VERSION):
            raise ArtifactError(
                f"{path}: manifest version {version!r} is unknown; this code reads versions 1 and "
                f"{MANIFEST_VERSION}. Use the Vitrine release that wrote it, or train again."
            )
        try:
            manifest = cls.model_validate_json(raw)
        except ValidationError as error:
            raise ArtifactError(f"{path}: {_first_problem(error)}") from None
        if manifest.canonical() != raw or manifest.digest != manifest.content_digest():
            raise ArtifactError(
                f"{path}: the manifest was changed after it was written; restore it or train again."
            )
        return manifest


def _parse_json(raw: bytes, path: str) -> dict[str, Any]:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise ArtifactError(f"{path}: not a JSON object.")
    return fields


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where} {first['input']!r}: {first['msg']}"
