"""How embeddings are compared: thresholds, and the pairs that they were chosen on."""

from typing import Literal

from pydantic import Field, field_validator

from artifacts.strict import Strict

METRICS = ("euclidean", "cosine")
"""Distances between embeddings; see `Verification`."""


class Histogram(Strict):
    """Pairs by distance: bin i holds those from i * width up to (i + 1) * width."""

    width: float = Field(gt=0)
    same: tuple[int, ...]
    """Pairs of one person."""
    different: tuple[int, ...]
    """Pairs of two people; as many bins."""


class Pairs(Strict):
    """The pairs of pictures that thresholds were chosen on."""

    dataset: str
    """Collection and split, such as `faces/celeba:validation`."""
    people: int = Field(gt=0)
    same: int = Field(gt=0)
    """Pairs of one person."""
    different: int = Field(gt=0)
    """Pairs of two people."""
    histogram: Histogram | None = Field(default=None, exclude_if=lambda v: v is None)
    """Their distances; left out where there is none, as manifests before it had none."""


class Threshold(Strict):
    """Distance up to which two pictures count as one person (ISO/IEC 19795-1 terms).

    Rates and interval are of the people and pictures that it was chosen on; others have others.
    """

    target_fmr: float = Field(gt=0, lt=1)
    """False-match rate that was asked for: share of pairs of two people that match."""
    distance: float = Field(ge=0)
    fmr: float = Field(ge=0, le=1)
    """False-match rate measured at `distance`."""
    fmr_interval: tuple[float, float]
    """95 % confidence interval of `fmr`."""
    fnmr: float | None = Field(default=None, ge=0, le=1)
    """False-non-match rate measured at `distance`: share of pairs of one person that do not."""

    @field_validator("fmr_interval")
    @classmethod
    def _an_interval(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError("two shares from 0 to 1, the lower one first, are expected")
        return interval


class Verification(Strict):
    """How embeddings of a model are compared."""

    metric: Literal["euclidean", "cosine"] = "euclidean"
    """euclidean: length of the difference; cosine: 1 - cosine of the angle, from 0 to 2."""
    thresholds: tuple[Threshold, ...] = ()
    """One for each target; none as long as the model was not calibrated."""
    pairs: Pairs | None = None
