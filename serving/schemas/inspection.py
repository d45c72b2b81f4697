"""Answers about the inside of a model and about what it was asked."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from artifacts.drift_distances import Distance
from artifacts.reference import Moments, Reference
from serving.schemas.base import Answer, Share, Size, Stamp


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
