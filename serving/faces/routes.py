"""The HTTP surface of faces: `/v1/faces/…`."""

import asyncio
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from serving.access import Access
from serving.faces import operations, parquet
from serving.faces.gallery import Gallery
from serving.faces.names import check_path, check_person
from serving.faces.operations import EmbeddedFace
from serving.faces.schemas import (
    ChangeInfo,
    ChangeList,
    Embedded,
    EnrolledPictures,
    GalleryInfo,
    Identified,
    Imported,
    Person,
    PersonList,
    PersonSummary,
    PictureInfo,
    Receipt,
    Search,
    Verified,
)
from serving.faces.store import NewPicture, Removed, Retry, fingerprint
from serving.forms import picture_body, read_contents, read_pair, read_to_file
from serving.models import Models, ServedModel
from serving.pictures import read_pictures
from serving.problems import RequestError
from serving.schemas import Answer

MAX_IMPORT_BYTES = 8_000_000_000
KEPT = "the change log keeps who removed what and when, with the person's id"
POSTGRESQL = (
    "PostgreSQL keeps deleted rows in its files until VACUUM FULL, and in its write-ahead log "
    "until that is recycled"
)
READERS = "the write-ahead log still held it when this was answered; the next removal empties it"

bearer = HTTPBearer(auto_error=False, description="not needed where no API keys are set")


def person_of(request: Request, person: Annotated[str, Path(min_length=1)]) -> str:
    """The person of the address."""
    check_path(request.scope)
    return check_person(person)


PersonId = Annotated[str, Depends(person_of)]
Aligned = Annotated[
    bool,
    Query(
        default_factory=bool, description="each picture is the aligned crop of one face; or false"
    ),
]
ModelName = Annotated[str | None, Query(description="another embedding model of this server")]
Fmr = Annotated[
    float | None,
    Query(
        gt=0, lt=1, description="target false-match rate, one the model has; 0.001 where it has it"
    ),
]
After = Annotated[int, Query(ge=0, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="entries in a page")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="makes it safe to send the same enrolment again: it is done once; remembered "
        "for 24 hours; 1 to 255 printable ASCII characters",
    ),
]
FACES: dict[str, Any] = {"tags": ["faces"], "dependencies": [Depends(bearer)]}
GALLERY: dict[str, Any] = {"tags": ["gallery"], "dependencies": [Depends(bearer)]}
PARQUET = {"schema": {"type": "string", "format": "binary"}}


def face_routes(pool: ThreadPoolExecutor) -> APIRouter:
    """Make the routes; `app.state` must hold models, gallery, access and keeps_pictures.

    Args:
        pool: where pictures are decoded and models run.
    """
    router = APIRouter(prefix="/v1/faces")
    _add_comparisons(router, pool)
    _add_enrolment(router, pool)
    _add_people(router)
    _add_gallery(router)
    return router


async def _embed(
    pool: ThreadPoolExecutor, model: ServedModel, contents: Sequence[bytes], aligned: bool
) -> list[EmbeddedFace]:
    def work() -> list[EmbeddedFace]:
        pictures = read_pictures(contents, model.manifest.input)
        return operations.embed(model, pictures, aligned=aligned)

    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _add_comparisons(router: APIRouter, pool: ThreadPoolExecutor) -> None:
    @router.post(
        "/verify",
        response_model=Verified,
        openapi_extra=picture_body(("first", "second")),
        **FACES,
    )
    async def verify(
        request: Request, aligned: Aligned, fmr: Fmr = None, model: ModelName = None
    ) -> Response:
        """Say whether two pictures show one person: match, no match, or why it cannot be said."""
        _access(request).check(request, "read", "verify")
        served = operations.face_model(_models(request), model)
        threshold = operations.threshold_of(served, fmr)
        first, second = await _embed(pool, served, await read_pair(request), aligned)
        return _json(operations.verify(served, first, second, threshold))

    @router.post("/embed", response_model=Embedded, openapi_extra=picture_body(("image",)), **FACES)
    async def embed(request: Request, aligned: Aligned, model: ModelName = None) -> Response:
        """Give the embedding of the face on each picture."""
        _access(request).check(request, "read", "embed")
        served = operations.face_model(_models(request), model)
        faces = await _embed(pool, served, await read_contents(request), aligned)
        return _json(
            Embedded(
                model=served.stamp,
                provider=served.runtime.provider,
                metric=operations.verification(served).metric,
                faces=tuple(face.found for face in faces),
                embeddings=[face.vector.tolist() for face in faces],
            )
        )

    @router.post(
        "/identify", response_model=Identified, openapi_extra=picture_body(("image",)), **FACES
    )
    async def identify(
        request: Request,
        aligned: Aligned,
        fmr: Fmr = None,
        top: Annotated[int, Query(ge=1, le=1000, description="number of people to name")] = 5,
    ) -> Response:
        """Name the people enrolled who are nearest to the face on each picture."""
        _access(request).check(request, "read", "identify")
        served = await _gallery_model(request)
        threshold = operations.threshold_of(served, fmr)
        faces = await _embed(pool, served, await read_contents(request), aligned)
        gallery = _gallery(request)
        return _json(
            await run_in_threadpool(operations.identify, served, gallery, faces, threshold, top)
        )


def _add_enrolment(router: APIRouter, pool: ThreadPoolExecutor) -> None:
    @router.put(
        "/people/{person}/pictures",
        response_model=EnrolledPictures,
        openapi_extra=picture_body(("image",)),
        **GALLERY,
    )
    async def enrol(
        request: Request, person: PersonId, aligned: Aligned, key: Key = None
    ) -> Response:
        """Add pictures of a person. When this is answered they are on disk, and found by all."""
        actor = _access(request).check(request, "write")
        served = await _gallery_model(request)
        contents = await read_contents(request)
        retry = _retry(key, person, str(aligned), *contents)
        faces = await _embed(pool, served, contents, aligned)
        operations.check_usable(served, faces)
        kept = request.app.state.keeps_pictures
        new = [
            NewPicture(person, face.vector, aligned, content if kept else None, uuid.uuid4().hex)
            for face, content in zip(faces, contents, strict=True)
        ]
        store = _gallery(request).store
        done = await run_in_threadpool(store.enrol, person, served.artifact.hash, new, actor, retry)
        return _json(EnrolledPictures(person=person, model=served.stamp, **done._asdict()))

    @router.delete("/people/{person}/pictures/{picture}", **GALLERY)
    def remove_picture(request: Request, person: PersonId, picture: str) -> Receipt:
        """Remove one picture of a person, from everywhere, and give a receipt."""
        actor = _access(request).check(request, "write")
        gallery = _gallery(request)
        return _receipt(gallery, person, gallery.store.remove_picture(person, picture, actor))


def _add_people(router: APIRouter) -> None:
    @router.get("/people", **GALLERY)
    def people(request: Request, after: After = 0, limit: Limit = 100) -> PersonList:
        """List the people enrolled, in pages."""
        _access(request).check(request, "read")
        rows = _gallery(request).lookup.people(after, limit)
        listed = tuple(
            PersonSummary(person=r.name, created=r.created, pictures=r.pictures) for r in rows
        )
        return PersonList(people=listed, next=rows[-1].number if len(rows) == limit else None)

    @router.get("/people/{person}", **GALLERY)
    def person(request: Request, person: PersonId) -> Person:
        """Tell what is stored about a person."""
        _access(request).check(request, "read")
        created, rows = _gallery(request).lookup.person(person)
        pictures = tuple(PictureInfo.model_validate(row._asdict()) for row in rows)
        return Person(person=person, created=created, pictures=pictures)

    @router.delete("/people/{person}", **GALLERY)
    def remove_person(request: Request, person: PersonId) -> Receipt:
        """Remove a person with all their pictures, from everywhere, and give a receipt."""
        actor = _access(request).check(request, "write")
        gallery = _gallery(request)
        return _receipt(gallery, person, gallery.store.remove_person(person, actor))


def _add_gallery(router: APIRouter) -> None:
    @router.get("", **GALLERY)
    def gallery(request: Request) -> GalleryInfo:
        """Tell how large the gallery is and how it is searched."""
        _access(request).check(request, "read")
        source = _gallery(request)
        model, change, people, pictures = source.lookup.state()
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
        """Tell who changed what in the gallery, and when."""
        _access(request).check(request, "read")
        rows = _gallery(request).lookup.changes(after, limit)
        listed = tuple(ChangeInfo.model_validate(row._asdict()) for row in rows)
        return ChangeList(changes=listed, next=rows[-1].number if len(rows) == limit else None)

    @router.get("/export", responses={200: {"content": {parquet.MEDIA_TYPE: PARQUET}}}, **GALLERY)
    def export(request: Request) -> StreamingResponse:
        """Give the whole gallery as a Parquet file."""
        _access(request).check(request, "read")
        pieces: Iterator[bytes] = parquet.write(_gallery(request))
        return StreamingResponse(pieces, media_type=parquet.MEDIA_TYPE)

    @router.post(
        "/import",
        openapi_extra={"requestBody": {"required": True, "content": {parquet.MEDIA_TYPE: PARQUET}}},
        **GALLERY,
    )
    async def import_(request: Request) -> Imported:
        """Add the pictures of an exported Parquet file; what is there already stays as it is."""
        actor = _access(request).check(request, "write")
        served = await _gallery_model(request)
        with tempfile.TemporaryFile() as file:
            await read_to_file(request, file, MAX_IMPORT_BYTES)
            return await run_in_threadpool(parquet.read, _gallery(request), file, served, actor)


def _retry(key: str | None, *parts: str | bytes) -> Retry | None:
    if key is None:
        return None
    if not re.fullmatch(r"[ -~]{1,255}", key):
        raise RequestError(
            "bad-parameter", "Idempotency-Key: 1 to 255 printable ASCII characters are accepted."
        )
    return Retry(key, fingerprint(*parts))


def _receipt(gallery: Gallery, person: str, removed: Removed) -> Receipt:
    remains = [KEPT]
    if not removed.traces_erased:
        remains.append(READERS if gallery.database.sqlite else POSTGRESQL)
    return Receipt(
        person=person,
        pictures=removed.pictures,
        embeddings=removed.embeddings,
        kept_pictures=removed.contents,
        answers=removed.answers,
        at=removed.at,
        change=removed.change,
        erased=removed.traces_erased,
        remains=tuple(remains),
    )


async def _gallery_model(request: Request) -> ServedModel:
    """The model whose embeddings are enrolled; the best for an empty gallery."""
    model, *_ = await run_in_threadpool(_gallery(request).lookup.state)
    return operations.face_model(_models(request), hash_=model)


def _gallery(request: Request) -> Gallery:
    gallery: Gallery = request.app.state.gallery
    return gallery


def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


def _json(answer: Answer) -> Response:
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")
