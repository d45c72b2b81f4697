"""The methods of `AsyncClient` about faces and their gallery."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from serving.client import face_calls
from serving.client.base import AsyncBaseClient
from serving.client.chunks import Source, join_each
from serving.client.connection import pieces
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


class AsyncFaceMethods(AsyncBaseClient):
    """Compares faces, and keeps the gallery; see `Client`."""

    async def verify(
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
        return await self._ask(
            face_calls.verify(first, second, aligned=aligned, several=several, fmr=fmr, model=model)
        )

    async def embed(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        model: str | None = None,
    ) -> Embedded:
        """The embedding of the face on each picture."""
        return await self._ask(
            face_calls.embed(pictures, aligned=aligned, several=several, model=model)
        )

    async def embed_each(
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
            await self._ask_each(lambda part: face_calls.embed_each(part, **options), pictures)
        )

    async def identify(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "main",
        fmr: float | None = None,
        top: int = 5,
    ) -> Identified:
        """The `top` enrolled people who are nearest to the face on each picture."""
        return await self._ask(
            face_calls.identify(pictures, aligned=aligned, several=several, fmr=fmr, top=top)
        )

    async def identify_each(
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
            await self._ask_each(lambda part: face_calls.identify_each(part, **options), pictures)
        )

    async def enrol(
        self,
        person: str,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: ChosenFace = "main",
        idempotency_key: str | None = None,
    ) -> EnrolledPictures:
        """Add pictures of a person; see `Client.enrol`."""
        return await self._ask(
            face_calls.enrol(person, pictures, idempotency_key, aligned=aligned, several=several)
        )

    async def gallery(self) -> GalleryInfo:
        """The size of the gallery and how it is searched."""
        return await self._ask(face_calls.gallery())

    def people(self) -> AsyncIterator[PersonSummary]:
        """Everybody who is enrolled, requested page by page."""
        return self._pages(face_calls.people)

    async def person(self, person: str) -> Person:
        """What is stored about a person."""
        return await self._ask(face_calls.person(person))

    async def remove_person(self, person: str) -> Receipt:
        """Remove a person with all their pictures."""
        return await self._ask(face_calls.remove_person(person))

    async def remove_picture(self, person: str, picture: str) -> Receipt:
        """Remove one picture of a person."""
        return await self._ask(face_calls.remove_picture(person, picture))

    def changes(self) -> AsyncIterator[ChangeInfo]:
        """The change log, oldest entry first, requested page by page."""
        return self._pages(face_calls.changes)

    async def export_gallery(self, file: Path) -> None:
        """Write the whole gallery to a Parquet file."""
        async with self._slots:
            await self._server.download(face_calls.export_gallery(), file)

    async def import_gallery(self, file: Path) -> Imported:
        """Add the pictures of an exported Parquet file; see `Client.import_gallery`."""
        size = (await asyncio.to_thread(file.stat)).st_size
        return await self._ask(face_calls.import_gallery(pieces(file), size))
