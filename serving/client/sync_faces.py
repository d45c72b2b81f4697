"""The methods of `Client` about faces and their gallery."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from serving.client import face_calls
from serving.client.base import BaseClient
from serving.client.chunks import Source, join_each
from serving.faces.schemas import (
    ChangeInfo,
    ChosenFace,
    EachEmbedded,
    EachIdentified,
    Embedded,
    EnrolledPictures,
    GalleryInfo,
    Identified,
    Imported,
    Person,
    PersonSummary,
    Receipt,
    Several,
    Verified,
)


class FaceMethods(BaseClient):
    """Compares faces, and keeps the gallery; see `Client`."""

    def verify(
        self,
        first: Source,
        second: Source,
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        model: str | None = None,
    ) -> Verified:
        """Whether two pictures show one person, at a target false-match rate of the model."""
        return self._ask(
            face_calls.verify(first, second, aligned=aligned, several=several, fmr=fmr, model=model)
        )

    def embed(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        model: str | None = None,
    ) -> Embedded:
        """The embedding of the face on each picture."""
        return self._ask(face_calls.embed(pictures, aligned=aligned, several=several, model=model))

    def embed_each(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        model: str | None = None,
    ) -> EachEmbedded:
        """The same, with an entry for each picture that is refused, as one without a face is."""
        options = {"aligned": aligned, "several": several, "model": model}
        return join_each(
            self._ask_each(lambda part: face_calls.embed_each(part, **options), pictures)
        )

    def identify(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        top: int = 5,
    ) -> Identified:
        """The `top` enrolled people who are nearest to the face on each picture."""
        return self._ask(
            face_calls.identify(pictures, aligned=aligned, several=several, fmr=fmr, top=top)
        )

    def identify_each(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        top: int = 5,
    ) -> EachIdentified:
        """The same, with an entry for each picture that is refused."""
        options = {"aligned": aligned, "several": several, "fmr": fmr, "top": top}
        return join_each(
            self._ask_each(lambda part: face_calls.identify_each(part, **options), pictures)
        )

    def enrol(
        self,
        person: str,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: ChosenFace = "main",
        idempotency_key: str | None = None,
    ) -> EnrolledPictures:
        """Add pictures of a person.

        Args:
            person: id, 1 to 200 characters without control characters and `/`.
            pictures: at least one.
            aligned: see `Client`.
            several: see `Client`.
            idempotency_key: the key of an earlier enrolment that was not answered, to repeat it
                safely; by default a new key.
        """
        return self._ask(
            face_calls.enrol(person, pictures, idempotency_key, aligned=aligned, several=several)
        )

    def gallery(self) -> GalleryInfo:
        """The size of the gallery and how it is searched."""
        return self._ask(face_calls.gallery())

    def people(self) -> Iterator[PersonSummary]:
        """Everybody who is enrolled, requested page by page."""
        return self._pages(face_calls.people)

    def person(self, person: str) -> Person:
        """What is stored about a person."""
        return self._ask(face_calls.person(person))

    def remove_person(self, person: str) -> Receipt:
        """Remove a person with all their pictures."""
        return self._ask(face_calls.remove_person(person))

    def remove_picture(self, person: str, picture: str) -> Receipt:
        """Remove one picture of a person."""
        return self._ask(face_calls.remove_picture(person, picture))

    def changes(self) -> Iterator[ChangeInfo]:
        """The change log, oldest entry first, requested page by page."""
        return self._pages(face_calls.changes)

    def export_gallery(self, file: Path) -> None:
        """Write the whole gallery to a Parquet file."""
        self._server.download(face_calls.export_gallery(), file)

    def import_gallery(self, file: Path) -> Imported:
        """Add the pictures of an exported Parquet file; those already enrolled stay unchanged.

        There is no time limit: a large gallery takes minutes.
        """
        with file.open("rb") as content:
            return self._ask(face_calls.import_gallery(content, file.stat().st_size))
