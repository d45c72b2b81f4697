"""Records of how embeddings are compared: thresholds, and the pairs that they were chosen on."""

from typing import Literal

from pydantic import Field, field_validator

from artifacts.strict import Strict

METRICS = ("euclidean", "cosine")
"""Distances between embeddings; see `Verification`."""


class Histogram(Strict):
    """Numbers of pairs by distance; bin i covers distances from i * width to (i + 1) * width."""

    width: float = Field(gt=0)
    same: tuple[int, ...]
    """Numbers of pairs of one person."""
    different: tuple[int, ...]
    """Numbers of pairs of two people, in the same number of bins."""


class Pairs(Strict):
    """The pairs of pictures that thresholds were chosen on."""

    dataset: str
    """Collection and split, such as `faces/celeba:validation`."""
    people: int = Field(gt=0)
    same: int = Field(gt=0)
    """Number of pairs of one person."""
    different: int = Field(gt=0)
    """Number of pairs of two people."""
    histogram: Histogram | None = Field(default=None, exclude_if=lambda v: v is None)
    """Histogram of the distances. Left out of the JSON if None, so that manifests written before
    this field existed keep their bytes."""


class Threshold(Strict):
    """Distance up to which two pictures count as one person, in the terms of ISO/IEC 19795-1.

    The rates and the interval hold for the people and pictures that the threshold was chosen on.
    """

    target_fmr: float = Field(gt=0, lt=1)
    """Requested false-match rate: the share of pairs of two people that match."""
    distance: float = Field(ge=0)
    fmr: float = Field(ge=0, le=1)
    """False-match rate measured at `distance`."""
    fmr_interval: tuple[float, float]
    """95 % confidence interval of `fmr`."""
    fnmr: float | None = Field(default=None, ge=0, le=1)
    """False-non-match rate at `distance`: the share of pairs of one person that do not match."""

    @field_validator("fmr_interval")
    @classmethod
    def _an_interval(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError("expected two shares from 0 to 1, the lower one first")
        return interval


class Verification(Strict):
    """How the embeddings of a model are compared."""

    metric: Literal["euclidean", "cosine"] = "euclidean"
    """euclidean: length of the difference; cosine: 1 - cosine of the angle, from 0 to 2."""
    thresholds: tuple[Threshold, ...] = ()
    """One threshold for each target; none until the model is calibrated."""
    pairs: Pairs | None = None
    mirrored: bool = Field(default=False, exclude_if=lambda v: not v)
    """Whether the embedding of a face is the mean of those of its chip and of the mirrored chip.
    Left out of the JSON if false, so that manifests written before this field existed keep their
    bytes."""
