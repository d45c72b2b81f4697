"""The answers about faces, as pydantic models."""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field

from artifacts.verification.decision import Threshold
from serving.schemas import Answer, Entry, RefusedPicture, Share, Size, Stamp

Metric = Literal["euclidean", "cosine"]
ChosenFace = Literal["main", "largest", "error"]
"""What to do if a picture shows several faces: use the main one, by size and closeness to the
middle, or the largest, or refuse the picture."""
Several = Literal[ChosenFace, "all"]
"""`ChosenFace`, or answer for every face."""


class FaceBox(Answer):
    """Where a face was found, in pixels of the upright picture."""

    left: int
    top: int
    width: int
    height: int


class FaceQuality(Answer):
    """What was measured of a face that was found."""

    probability: Share = Field(
        description="probability that it is a face, according to the detector"
    )
    side: float = Field(
        description="side of the square that has the area of the face's box, in pixels"
    )
    sharpness: float = Field(
        description="standard deviation of the Laplacian over the aligned face, in grey levels"
    )
    roll: float = Field(description="rotation in the picture's plane, in degrees clockwise")


class FoundFace(Answer):
    """The face that was chosen in a picture, or one of its faces with several=all."""

    picture: int = Field(description="number of the picture in the request, from 0")
    size: Size = Field(description="size of the picture, turned upright")
    box: FaceBox | None = Field(
        description="where the face is; the whole picture if it was sent with aligned=true, null "
        "if no face was chosen"
    )
    found: tuple[FaceBox, ...] = Field(description="all faces of the picture, the largest first")
    quality: FaceQuality | None = Field(description="null if no face was looked for or chosen")
    problem: (
        Literal["no-face", "several-faces", "face-too-small", "face-blurred", "face-not-upright"]
        | None
    ) = Field(description="why no face of the picture can be embedded; null if one can")


class Verified(Answer):
    """Answer to `verify`: whether two pictures show one person."""

    model: Stamp
    provider: str
    result: Literal["match", "no_match", "cannot_say"]
    reason: str | None = Field(description="why the result is cannot_say; null otherwise")
    distance: float | None = Field(description="null if an embedding is missing or not comparable")
    metric: Metric
    threshold: Threshold | None = Field(
        description="two faces match if their distance is at most the threshold's; its false-match "
        "rate (FMR) was measured on people that the model never saw; null if the model was not "
        "calibrated"
    )
    compared: int = Field(
        description="number of pairs of faces that were compared, more than one only with "
        "several=all; somebody is then taken for another with a probability of up to compared * FMR"
    )
    first: FoundFace = Field(
        description="the face of the first picture; with several=all, that of the nearest pair"
    )
    second: FoundFace


class Embedded(Answer):
    """Answer to `embed`: one row of D floats for each picture, in the order sent.

    With several=all, there is a row for each face that can be embedded, the main one of each
    picture first.
    """

    model: Stamp
    provider: str
    metric: Metric
    faces: tuple[FoundFace, ...]
    embeddings: list[list[float]]


class EmbeddedPicture(Entry):
    """The face of one picture, or all that can be embedded with several=all, the main one first."""

    faces: tuple[FoundFace, ...]
    embeddings: list[list[float]] = Field(description="D floats for each face")

    def at(self, index: int, name: str | None) -> Self:
        """See `Entry.at`."""
        faces = tuple(face.model_copy(update={"picture": index}) for face in self.faces)
        return super().at(index, name).model_copy(update={"faces": faces})


class EachEmbedded(Answer):
    """Answer to `embed` with `errors=each`: an entry for each picture, in the order sent."""

    model: Stamp
    provider: str
    metric: Metric
    pictures: tuple[EmbeddedPicture | RefusedPicture, ...]


class Candidate(Answer):
    """An enrolled person, with the picture of theirs that is nearest."""

    person: str
    picture: str
    distance: float = Field(
        description="of the face from the person: the mean of the distance to the centroid of the "
        "person's pictures and of the mean distance to them, over those pictures that match the "
        "nearest one at the loosest threshold"
    )
    within: bool = Field(description="whether the distance is within the threshold")


class IdentifiedPicture(Answer):
    """Who is on one picture, or whose one of its faces is with several=all."""

    face: FoundFace
    result: Literal["known", "unknown", "cannot_say"] = Field(
        description="unknown means that nobody enrolled is within the threshold"
    )
    reason: str | None = Field(description="why the result is cannot_say; null otherwise")
    people: tuple[Candidate, ...] = Field(
        description="nearest first, whether within the threshold or not"
    )


class Search(Answer):
    """How the gallery is searched."""

    kind: Literal["exact", "approximate"]
    recall: Share | None = Field(
        description="share of approximate searches that find the nearest picture, measured when "
        "the index was built; null for an exact search"
    )


class IdentifiedFaces(Entry):
    """Who is on one picture: one face, or all of them with several=all, the main one first."""

    faces: tuple[IdentifiedPicture, ...]

    def at(self, index: int, name: str | None) -> Self:
        """See `Entry.at`."""
        faces = tuple(
            each.model_copy(update={"face": each.face.model_copy(update={"picture": index})})
            for each in self.faces
        )
        return super().at(index, name).model_copy(update={"faces": faces})


class _Searched(Answer):
    """What holds for all pictures of an answer."""

    model: Stamp
    provider: str
    metric: Metric
    threshold: Threshold | None = Field(
        description="its FMR holds for one comparison; among N people who are all strangers, "
        "somebody is within the threshold with a probability of up to 1 - (1 - FMR)^N; null if the "
        "model was not calibrated"
    )
    search: Search


class Identified(_Searched):
    """Answer to `identify`: one entry for each picture, in the order sent.

    With several=all, there is an entry for each face, the main one of each picture first.
    """

    pictures: tuple[IdentifiedPicture, ...]


class EachIdentified(_Searched):
    """Answer to `identify` with `errors=each`: an entry for each picture, in the order sent."""

    pictures: tuple[IdentifiedFaces | RefusedPicture, ...]


class EnrolledPictures(Answer):
    """Answer to an enrolment; from now on, every worker and server finds these pictures."""

    person: str
    pictures: tuple[str, ...] = Field(description="ids of the pictures, in the order sent")
    change: int = Field(description="number of the last change in the change log")
    replayed: bool = Field(
        description="whether an earlier request with this Idempotency-Key enrolled them"
    )
    model: Stamp


class PersonSummary(Answer):
    """One person in the list of people."""

    person: str
    created: datetime
    pictures: int


class PersonList(Answer):
    """A page of the enrolled people, in the order in which they were added."""

    people: tuple[PersonSummary, ...]
    next: int | None = Field(description="give it as `after` for the next page; null at the end")


class PictureInfo(Answer):
    """One enrolled picture."""

    id: str
    created: datetime
    aligned: bool = Field(description="whether it was sent as the aligned crop of a face")
    kept: bool = Field(description="whether the picture itself is kept, besides its embedding")


class Person(Answer):
    """One person, with all their pictures."""

    person: str
    created: datetime
    pictures: tuple[PictureInfo, ...]


class Receipt(Answer):
    """What was removed, and what remains."""

    person: str
    pictures: tuple[str, ...] = Field(description="ids of the pictures removed")
    embeddings: int = Field(description="number of embeddings removed")
    kept_pictures: int = Field(description="number of pictures removed that had been kept")
    answers: int = Field(description="number of stored answers to enrolments that were deleted")
    at: datetime
    change: int = Field(description="number of the last change in the change log")
    erased: bool = Field(description="whether no byte of it is left in the database's files")
    remains: tuple[str, ...] = Field(description="what remains, and for how long")


class ChangeInfo(Answer):
    """One line of the change log."""

    number: int
    at: datetime
    actor: str = Field(description="name of the API key; `local` if the server has no keys")
    action: str
    person: str | None
    picture: str | None


class ChangeList(Answer):
    """A page of the change log, oldest first."""

    changes: tuple[ChangeInfo, ...]
    next: int | None = Field(description="give it as `after` for the next page; null at the end")


class GalleryInfo(Answer):
    """The gallery as a whole."""

    model: str | None = Field(description="hash of the model that gave its embeddings")
    people: int
    pictures: int
    change: int = Field(description="number of the newest change")
    keeps_pictures: bool = Field(
        description="whether pictures that are enrolled from now on are kept"
    )
    search: Search


class Imported(Answer):
    """Answer to an import."""

    added: int = Field(description="number of pictures that were added")
    present: int = Field(description="number of pictures that were in the gallery already")
    change: int
