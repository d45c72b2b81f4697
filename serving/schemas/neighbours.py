"""Answers about pictures that are alike."""

from pydantic import Field

from serving.schemas.base import Answer, Entry, RefusedPicture, Stamp
from serving.schemas.inspection import Point


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


class Neighbourhood(Entry):
    """The neighbours of one picture."""

    place: Point | None = Field(
        default=None,
        description="place on the map of the atlas, the median of those of the ten nearest "
        "pictures; null for an index",
    )
    nearest: tuple[Neighbour, ...] = Field(description="nearest first")


class _Searched(Answer):
    """What holds for all pictures of an answer."""

    model: Stamp
    provider: str
    index: str | None = Field(
        default=None, description="the index that was searched; null for the atlas"
    )


class Neighbours(_Searched):
    """Answer to `neighbours`: one entry for each picture, in the order sent."""

    pictures: tuple[Neighbourhood, ...]


class EachNeighbours(_Searched):
    """Answer to `neighbours` with `errors=each`: an entry for each picture, in the order sent."""

    pictures: tuple[Neighbourhood | RefusedPicture, ...]
