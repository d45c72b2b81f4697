"""Routes of the gallery: listing, removing, exporting and importing the people enrolled."""

import tempfile
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from serving.faces.gallery import Gallery
from serving.faces.schemas import (
    ChangeInfo,
    ChangeList,
    GalleryInfo,
    Imported,
    Person,
    PersonList,
    PersonSummary,
    PictureInfo,
    Receipt,
    Search,
)
from serving.faces.writer import Removal
from serving.http.body import on_disk, read_to_file
from serving.http.responses import bearer
from serving.http.routes.face_parameters import (
    After,
    Limit,
    PersonId,
    access_of,
    gallery_model,
    gallery_of,
)

MAX_IMPORT_BYTES = 8_000_000_000
CHANGE_LOG_REMAINS = "the change log keeps who removed what and when, including the person's id"

GALLERY: dict[str, Any] = {"tags": ["gallery"], "dependencies": [Depends(bearer)]}
PARQUET_TYPE = "application/vnd.apache.parquet"
PARQUET = {"schema": {"type": "string", "format": "binary"}}


def add_gallery_routes(router: APIRouter) -> None:
    """Add the routes of the gallery to the router of `/v1/faces`."""
    _add_people(router)
    _add_gallery(router)


def _add_people(router: APIRouter) -> None:
    @router.get("/people", **GALLERY)
    def people(request: Request, after: After = 0, limit: Limit = 100) -> PersonList:
        """List the enrolled people, in pages."""
        access_of(request).check(request, "read")
        rows = gallery_of(request).reader.people(after, limit)
        listed = tuple(
            PersonSummary(person=r.name, created=r.created, pictures=r.pictures) for r in rows
        )
        return PersonList(people=listed, next=rows[-1].number if len(rows) == limit else None)

    @router.get("/people/{person}", **GALLERY)
    def person(request: Request, person: PersonId) -> Person:
        """Return what is stored about a person."""
        access_of(request).check(request, "read")
        created, rows = gallery_of(request).reader.person(person)
        pictures = tuple(PictureInfo.model_validate(row._asdict()) for row in rows)
        return Person(person=person, created=created, pictures=pictures)

    @router.delete("/people/{person}/pictures/{picture}", **GALLERY)
    def remove_picture(request: Request, person: PersonId, picture: str) -> Receipt:
        """Remove one picture of a person and all that was derived from it, and return a receipt."""
        actor = access_of(request).check(request, "write")
        gallery = gallery_of(request)
        return _receipt(gallery, person, gallery.writer.remove_picture(person, picture, actor))

    @router.delete("/people/{person}", **GALLERY)
    def remove_person(request: Request, person: PersonId) -> Receipt:
        """Remove a person and all their pictures, and return a receipt."""
        actor = access_of(request).check(request, "write")
        gallery = gallery_of(request)
        return _receipt(gallery, person, gallery.writer.remove_person(person, actor))


def _add_gallery(router: APIRouter) -> None:
    @router.get("", **GALLERY)
    def gallery(request: Request) -> GalleryInfo:
        """Return how large the gallery is and how it is searched."""
        access_of(request).check(request, "read")
        source = gallery_of(request)
        model, change, people, pictures = source.reader.state()
        kind, recall = source.search_kind()
        return GalleryInfo(
            model=model,
            people=people,
            pictures=pictures,
            change=change,
            keeps_pictures=request.app.state.keeps_pictures,
            search=Search(kind=kind, recall=recall),
        )

    @router.get("/changes", **GALLERY)
    def changes(request: Request, after: After = 0, limit: Limit = 100) -> ChangeList:
        """Return who changed what in the gallery, and when."""
        access_of(request).check(request, "read")
        rows = gallery_of(request).reader.changes(after, limit)
        listed = tuple(ChangeInfo.model_validate(row._asdict()) for row in rows)
        return ChangeList(changes=listed, next=rows[-1].number if len(rows) == limit else None)

    @router.get("/export", responses={200: {"content": {PARQUET_TYPE: PARQUET}}}, **GALLERY)
    def export(request: Request) -> StreamingResponse:
        """Return the whole gallery as a Parquet file."""
        access_of(request).check(request, "read")
        from serving.faces import parquet  # noqa: PLC0415 - pyarrow takes 30 MB

        pieces = parquet.write(gallery_of(request))
        return StreamingResponse(pieces, media_type=PARQUET_TYPE)

    @router.post(
        "/import",
        openapi_extra={"requestBody": {"required": True, "content": {PARQUET_TYPE: PARQUET}}},
        **GALLERY,
    )
    async def import_(request: Request) -> Imported:
        """Add the pictures of an exported Parquet file; pictures already there stay unchanged."""
        actor = access_of(request).check(request, "write")
        served = await gallery_model(request)
        with on_disk(), tempfile.TemporaryFile() as file:
            await read_to_file(request, file, MAX_IMPORT_BYTES)
            from serving.faces import parquet  # noqa: PLC0415 - as above

            return await run_in_threadpool(parquet.read, gallery_of(request), file, served, actor)


def _receipt(gallery: Gallery, person: str, removal: Removal) -> Receipt:
    remains = [CHANGE_LOG_REMAINS]
    if not removal.traces_erased:
        remains.append(gallery.database.remains)
    return Receipt(
        person=person,
        pictures=removal.pictures,
        embeddings=removal.embeddings,
        kept_pictures=removal.contents,
        answers=removal.answers,
        at=removal.at,
        change=removal.change,
        erased=removal.traces_erased,
        remains=tuple(remains),
    )
