"""What the manifest records about verdicts and about sets of classes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from artifacts.intervals import interval
from artifacts.strict import Strict

KEEP = 0.95
"""Share of known pictures that is kept if a request names no other."""
Share = Annotated[float, Field(ge=0, le=1)]
Method = Literal[
    "maximum-probability", "energy", "mahalanobis", "relative-mahalanobis", "neighbours", "combined"
]
"""How a picture is scored; see `artifacts.known.detector`."""


class Rate(Strict):
    """The share of N pictures that is kept, or that is refused, with its 95 % interval (Wilson)."""

    data: str
    """Name of the pictures."""
    pictures: int = Field(ge=0)
    share: Share
    low: Share
    high: Share

    @classmethod
    def of(cls, data: str, share: float, pictures: int) -> Self:
        """Make a rate from the share and the number of pictures."""
        low, high = interval(share * pictures, pictures)
        ends = {"low": round(low, 4), "high": round(high, 4)}
        return cls(data=data, pictures=pictures, share=round(share, 4), **ends)


class Refused(Rate):
    """The share of outliers of one data set that is refused."""

    declared: bool
    """Whether the detector was chosen and fitted with (other) pictures of this kind."""
    left_out: Share | None = None
    """Of a declared kind: the share that is refused by a detector that was fitted without it."""


class KnownRecord(Strict):
    """How known pictures are told from others, and how well that works with the default `keep`."""

    method: Method
    offered: bool
    """Whether answers carry a verdict. They do not if too few outliers would be refused."""
    keep: Share = KEEP
    """Share of the known pictures that the threshold was chosen to keep, on `threshold_on`."""
    threshold: Share
    """Pictures with a lower score are refused. The score of a picture is the share of the
    validation pictures that look no more familiar than it."""
    fitted_on: str
    threshold_on: str
    areas: dict[Method, Share]
    """Area under the ROC curve by method, the mean over the declared outliers, on pictures that
    nothing was fitted on."""
    kept: tuple[Rate, ...]
    refused: tuple[Refused, ...]


class Coverage(Strict):
    """How often sets of classes held the truth, on pictures that they were not calibrated on."""

    asked: Share
    data: str
    pictures: int
    reached: Share
    low: Share
    high: Share
    mean_size: float
    """Mean number of classes in a set."""
    empty: Share
    """Share of sets without any class."""


class SetsRecord(Strict):
    """Calibration of the sets of classes; see `artifacts.known.sets`."""

    data: str
    pictures: int = Field(ge=1)
    log_odds: tuple[float, ...] = Field(min_length=2)
    """Quantiles of the log odds of the true class, at `artifacts.known.sets.LEVELS`."""
    checked: tuple[Coverage, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if list(self.log_odds) != sorted(self.log_odds):
            raise ValueError("the quantiles must ascend")
        return self
