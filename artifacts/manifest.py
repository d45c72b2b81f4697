"""The manifest: everything an artifact says about itself, typed and versioned."""

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator

from artifacts.errors import ArtifactError
from artifacts.strict import Strict
from artifacts.verification.decision import Verification

MANIFEST_VERSION = 1
ROUTES = ("cifar10", "cars", "digits", "faces")
"""Purposes that have an address of their own on the server, whichever model answers."""
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Task = Literal["classification", "embedding"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _all_different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("every class needs a name of its own")
    return names


class InputPolicy(Strict):
    """How a picture of any size becomes an input of the graph. All sizes in pixels.

    A picture's *side* is that of the square with its area, sqrt(width x height): the network sees
    a 40x10 picture at the scale of a 20x20 one.
    """

    accepted_side: tuple[int, int] = (8, 4096)
    """Least and greatest width or height taken; others are refused."""
    native_side: tuple[int, int] | None = None
    """Range of sides shown as they are. Outside, the picture is rescaled to the nearer end with
    its aspect ratio kept. None: any accepted size is shown as it is."""
    fixed_size: tuple[int, int] | None = None
    """(height, width) of a graph that takes one size only: every picture is squashed to it."""

    @field_validator("native_side", "accepted_side")
    @classmethod
    def _low_first(cls, sides: tuple[int, int] | None) -> tuple[int, int] | None:
        if sides is not None and not 0 < sides[0] <= sides[1]:
            raise ValueError("two positive sides, the lower one first, are expected")
        return sides

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Size (width, height) at which a picture of the given size enters the graph."""
        if self.fixed_size is not None:
            return self.fixed_size[1], self.fixed_size[0]
        if self.native_side is None:
            return width, height
        side = math.sqrt(width * height)
        scale = min(max(side, self.native_side[0]), self.native_side[1]) / side
        if scale == 1.0:
            return width, height
        least = self.accepted_side[0]
        return max(least, round(width * scale)), max(least, round(height * scale))


class DatasetRecord(Strict):
    """The data an artifact was trained on."""

    name: str
    fingerprint: Sha256
    """Hash over the content of the training files, or over the generator's settings."""
    synthetic: bool
    """True for generated pictures: such a model is for trying things out, and says so."""
    train_samples: int
    validation_samples: int


class RecipeRecord(Strict):
    """The recipe and profile an artifact was trained by."""

    name: str
    profile: Literal["full", "cpu", "smoke"]
    hash: Sha256
    """Over the resolved settings, profile applied."""
    code: Sha256
    """Over the source of the network and of what trains it."""
    study: str | None = None
    """Study of the sources that the recipe rebuilds."""


class Parameters(Strict):
    """Numbers of weights; buffers such as batch-norm statistics do not count."""

    total: int
    trainable: int


class RunRecord(Strict):
    """How the training run went: what a figure needs to be believed."""

    command: str
    hardware: str
    seed: int
    precision: str
    epochs: int
    seconds: float
    """Wall time of all epochs, validation included."""


class Metric(Strict):
    """One measured figure, through the exported graph."""

    name: str
    """accuracy (share, 0..1), loss (nats per sample), ece (15 bins), ..."""
    value: float
    split: str
    samples: int
    size: str | None = None
    """Picture size when it is not the data set's own: `WIDTHxHEIGHT`."""


class Measured(Strict):
    """One form of a graph: accuracy, 0..1, and pictures/s by size of batch, on one thread."""

    accuracy: float
    pictures_per_second: dict[int, float]


class Quantization(Strict):
    """The graph in 8-bit integers beside the one it was made from, measured in one run."""

    served: bool
    """Whether `model.int8.onnx` is here and answers in the place of `model.onnx`, on processors
    with 8-bit arithmetic."""
    calibration: str  # where the ranges come from, `NAME:SPLIT`; as `test`
    calibration_samples: int
    test: str
    test_samples: int
    hardware: str
    fp32: Measured
    int8: Measured


class Manifest(Strict):
    """What an artifact says about itself; stored as canonical JSON beside the model."""

    version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    title: str = Field(default="", exclude_if=lambda v: not v)
    """What it is, in a line; left out where nobody said, as manifests before it did."""
    task: Task
    route: Literal["cifar10", "cars", "digits", "faces"] | None = None
    """Purpose, one of `ROUTES`, that it serves besides under its own name."""
    default: bool = False
    """Preferred among the models of its route."""
    classes: Annotated[tuple[str, ...], AfterValidator(_all_different)] = ()
    input: InputPolicy = InputPolicy()
    temperature: float = Field(default=1.0, gt=0)
    """Logits are divided by it before softmax; fitted on validation data (Guo et al. 2017)."""
    verification: Verification | None = Field(default=None, exclude_if=lambda v: v is None)
    """Of an embedding; left out where there is none, as manifests before it had none."""
    dataset: DatasetRecord | None = None
    recipe: RecipeRecord | None = None
    parameters: Parameters | None = None
    run: RunRecord | None = None
    metrics: tuple[Metric, ...] = ()
    quantization: Quantization | None = Field(default=None, exclude_if=lambda v: v is None)
    reported: dict[str, float] = Field(default_factory=dict)
    """Figures the source study printed, by the same names as `metrics`."""
    code_version: str
    created: datetime
    files: dict[str, Sha256] = Field(default_factory=dict)
    """Every other file of the artifact."""
    digest: str = ""
    """sha256 over this manifest with an empty digest: a changed byte in it shows, too."""

    @classmethod
    def build(cls, **fields: Any) -> Self:
        """Make a manifest from fields.

        Raises:
            ArtifactError: naming the first field that is not as it must be.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ArtifactError(_first(error)) from None

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on generated pictures."""
        return self.dataset is not None and self.dataset.synthetic

    def metric(self, name: str, split: str) -> float | None:
        """Value of a metric at the data set's own picture size, or None where unmeasured."""
        for metric in self.metrics:
            if (metric.name, metric.split, metric.size) == (name, split, None):
                return metric.value
        return None

    def sealed(self) -> Self:
        """The same manifest with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def canonical(self) -> bytes:
        """The one way this manifest is written."""
        return (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode()

    def content_digest(self) -> str:
        """sha256 of the canonical form with an empty digest."""
        return hashlib.sha256(self.model_copy(update={"digest": ""}).canonical()).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Parse and check a manifest file.

        Raises:
            ArtifactError: missing, not JSON, of an unknown version, malformed or altered.
        """
        raw, fields = _read_json(path)
        version = fields.get("version")
        if version != MANIFEST_VERSION:
            raise ArtifactError(
                f"{path}: manifest version {version!r} is unknown; this code reads version "
                f"{MANIFEST_VERSION}. Use the Vitrine release that wrote it, or train again."
            )
        try:
            manifest = cls.model_validate_json(raw)
        except ValidationError as error:
            raise ArtifactError(f"{path}: {_first(error)}") from None
        if manifest.canonical() != raw or manifest.digest != manifest.content_digest():
            raise ArtifactError(
                f"{path}: the manifest was changed after it was written; restore it or train again."
            )
        return manifest


def _read_json(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        raw = path.read_bytes()
        fields = json.loads(raw)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing; a folder without it is not an artifact.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise ArtifactError(f"{path}: not a JSON object.")
    return raw, fields


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where} {first['input']!r}: {first['msg']}"
