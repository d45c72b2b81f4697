"""The answers about faces, as typed models."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from artifacts.verification.decision import Threshold
from serving.schemas import Answer, Share, Size, Stamp

Metric = Literal["euclidean", "cosine"]
Several = Literal["largest", "error"]
"""What is done about several faces in a picture."""


class FaceBox(Answer):
    """Where a face was found, in pixels of the upright picture."""

    left: int
    top: int
    width: int
    height: int


class FaceQuality(Answer):
    """What was measured of a found face."""

    probability: Share = Field(description="that it is a face, says the detector")
    side: float = Field(description="of the square with the area of its box, px")
    sharpness: float = Field(
        description="standard deviation of the Laplacian over the aligned face, in grey levels"
    )
    roll: float = Field(description="degrees by which it is turned clockwise")


class FoundFace(Answer):
    """The face that a picture was taken for."""

    size: Size = Field(description="of the picture, turned upright")
    box: FaceBox | None = Field(
        description="of the face; the whole picture where it was sent with aligned=true, null "
        "where no face was chosen"
    )
    found: tuple[FaceBox, ...] = Field(description="all faces of the picture, the largest first")
    quality: FaceQuality | None = Field(description="null where nothing was looked for or chosen")
    problem: (
        Literal["no-face", "several-faces", "face-too-small", "face-blurred", "face-not-upright"]
        | None
    ) = Field(description="why the picture has no face to embed; null where it has")


class Verified(Answer):
    """Answer to `verify`: whether two pictures show one person."""

    model: Stamp
    provider: str
    result: Literal["match", "no_match", "cannot_say"]
    reason: str | None = Field(description="why nothing can be said; null where something is")
    distance: float | None = Field(description="null where an embedding cannot be compared")
    metric: Metric
    threshold: Threshold | None = Field(
        description="a match lies within its distance; its false-match rate (FMR) was measured on "
        "people the model never saw; null for a model that was not calibrated"
    )
    first: FoundFace
    second: FoundFace


class Embedded(Answer):
    """Answer to `embed`: one row of D floats for each picture, in the order sent."""

    model: Stamp
    provider: str
    metric: Metric
    faces: tuple[FoundFace, ...]
    embeddings: list[list[float]]


class Candidate(Answer):
    """An enrolled person, by their picture that is nearest."""

    person: str
    picture: str
    distance: float
    within: bool = Field(description="whether the distance is within the threshold")


class IdentifiedPicture(Answer):
    """Who is on one picture."""

    face: FoundFace
    result: Literal["known", "unknown", "cannot_say"] = Field(
        description="unknown: nobody enrolled is within the threshold"
    )
    reason: str | None = Field(description="why nothing can be said; null where something is")
    people: tuple[Candidate, ...] = Field(description="nearest first, whether within or not")


class Search(Answer):
    """How the gallery is searched."""

    kind: Literal["exact", "approximate"]
    recall: Share | None = Field(
        description="of an approximate search: how often it finds the nearest picture that an "
        "exact one finds, measured when its index was built"
    )


class Identified(Answer):
    """Answer to `identify`: one entry for each picture, in the order sent."""

    model: Stamp
    provider: str
    metric: Metric
    threshold: Threshold | None = Field(
        description="its FMR holds for one comparison; among N people who are all strangers, one "
        "is within it with a probability of up to 1 - (1 - FMR)^N"
    )
    search: Search
    pictures: tuple[IdentifiedPicture, ...]


class EnrolledPictures(Answer):
    """Answer to an enrolment; from then on, every worker and server finds these pictures."""

    person: str
    pictures: tuple[str, ...] = Field(description="ids, in the order sent")
    change: int = Field(description="number of the last change in the change log")
    replayed: bool = Field(description="an earlier request with this Idempotency-Key did it")
    model: Stamp


class PersonSummary(Answer):
    """One person in the list."""

    person: str
    created: datetime
    pictures: int


class PersonList(Answer):
    """A page of the people enrolled, in the order in which they were."""

    people: tuple[PersonSummary, ...]
    next: int | None = Field(description="give it as `after` for the next page; null at the end")


class PictureInfo(Answer):
    """One enrolled picture."""

    id: str
    created: datetime
    aligned: bool = Field(description="it was sent as the crop of a face")
    kept: bool = Field(description="the picture itself is kept, not only its embedding")


class Person(Answer):
    """One person, with all their pictures."""

    person: str
    created: datetime
    pictures: tuple[PictureInfo, ...]


class Receipt(Answer):
    """What was removed, and what is left of it."""

    person: str
    pictures: tuple[str, ...] = Field(description="ids of the pictures removed")
    embeddings: int = Field(description="number of embeddings removed")
    kept_pictures: int = Field(description="number of pictures removed that had been kept")
    answers: int = Field(description="answers to enrolments that were remembered for repetition")
    at: datetime
    change: int = Field(description="number of the last change in the change log")
    erased: bool = Field(description="no byte of it is left in the database's files")
    remains: tuple[str, ...] = Field(description="what is still there, and for how long")


class ChangeInfo(Answer):
    """One line of the change log."""

    number: int
    at: datetime
    actor: str = Field(description="name of the key; `local` where no keys are set")
    action: str
    person: str | None
    picture: str | None


class ChangeList(Answer):
    """A page of the change log, oldest first."""

    changes: tuple[ChangeInfo, ...]
    next: int | None = Field(description="give it as `after` for the next page; null at the end")


class GalleryInfo(Answer):
    """The gallery at large."""

    model: str | None = Field(description="hash of the model whose embeddings it holds")
    people: int
    pictures: int
    change: int = Field(description="number of the newest change")
    keeps_pictures: bool = Field(description="whether pictures enrolled now are kept")
    search: Search


class Imported(Answer):
    """What an import brought."""

    added: int = Field(description="pictures that are new in the gallery")
    present: int = Field(description="pictures that were there already")
    change: int
