"""Routes that compare, identify and enrol faces: `/v1/faces/…`."""

import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from artifacts.pictures import Picture
from serving.faces import operations
from serving.faces.idempotency import IdempotencyKey, fingerprint
from serving.faces.operations import EmbeddedFace
from serving.faces.schemas import (
    EachEmbedded,
    EachIdentified,
    Embedded,
    EnrolledPictures,
    Identified,
    IdentifiedFaces,
    Several,
    Verified,
)
from serving.faces.writer import NewPicture
from serving.http.body import picture_body, read_contents, read_pair
from serving.http.bulk import LINES, Bulk
from serving.http.intake import admit, models_of, open_model, run_in
from serving.http.responses import bearer, json_response
from serving.http.routes.classify import PICTURES, EachOrRequest
from serving.http.routes.face_parameters import (
    Aligned,
    Fmr,
    IdempotencyKeyHeader,
    ModelName,
    OneFace,
    PersonId,
    SeveralFaces,
    access_of,
    gallery_model,
    gallery_of,
)
from serving.http.routes.gallery import GALLERY, add_gallery_routes
from serving.inference.served_model import ServedModel
from serving.pictures.decode import decode, decode_pictures
from serving.problems import RequestError
from serving.schemas import Entry

FACES: dict[str, Any] = {"tags": ["faces"], "dependencies": [Depends(bearer)]}
EACH: dict[str, Any] = FACES | {"responses": LINES, "openapi_extra": PICTURES}


def face_routes(pool: Executor) -> APIRouter:
    """Return the routes; `app.state` must have `models`, `gallery`, `access` and `keeps_pictures`.

    Args:
        pool: threads that decode pictures and run models.
    """
    router = APIRouter(prefix="/v1/faces")
    _add_verify(router, pool)
    _add_embed(router, pool)
    _add_identify(router, pool)
    _add_enrolment(router, pool)
    add_gallery_routes(router)
    return router


async def _embed(
    request: Request,
    pool: Executor,
    model: ServedModel,
    contents: Sequence[bytes],
    aligned: bool,
    several: Several,
) -> list[EmbeddedFace]:
    opened = await admit(request, contents, model)
    await open_model(model)

    def work() -> list[EmbeddedFace]:
        return operations.embed(model, decode_pictures(opened), aligned=aligned, several=several)

    return await run_in(pool, work)


async def _embed_each(
    bulk: Bulk,
    pool: Executor,
    model: ServedModel,
    aligned: bool,
    several: Several,
    answer: Callable[[list[EmbeddedFace]], Awaitable[Entry | RequestError]],
    whole: Callable[[Any], BaseModel],
) -> Response:
    """Respond with an entry for each picture, which `answer` makes of its faces."""
    await open_model(model)

    async def entries(pictures: Sequence[Picture]) -> Sequence[Entry | RequestError]:
        def work() -> list[EmbeddedFace]:
            return operations.embed(model, pictures, aligned=aligned, several=several)

        faces = await run_in(pool, work)
        return [await answer(found) for found in operations.by_picture(faces)]

    return await bulk.respond(model, decode, entries, whole)


def _add_verify(router: APIRouter, pool: Executor) -> None:
    @router.post(
        "/verify",
        response_model=Verified,
        openapi_extra=picture_body(("first", "second")),
        **FACES,
    )
    async def verify(
        request: Request,
        *,
        aligned: Aligned = False,
        several: SeveralFaces = "main",
        fmr: Fmr = None,
        model: ModelName = None,
    ) -> Response:
        """Decide whether two pictures show one person, or say why that cannot be decided.

        With several=all, the nearest pair of a face of each picture decides.
        """
        access_of(request).check(request, "read", "verify")
        served = operations.face_model(models_of(request), model)
        threshold = operations.threshold_of(served, fmr)
        faces = await _embed(request, pool, served, await read_pair(request), aligned, several)
        first, second = ([face for face in faces if face.found.picture == i] for i in (0, 1))
        return json_response(operations.verify(served, first, second, threshold))


def _add_embed(router: APIRouter, pool: Executor) -> None:
    @router.post("/embed", response_model=Embedded | EachEmbedded, **EACH)
    async def embed(
        request: Request,
        *,
        aligned: Aligned = False,
        several: SeveralFaces = "main",
        model: ModelName = None,
        errors: EachOrRequest = "request",
    ) -> Response:
        """Return the embedding of the face in each picture, or with several=all of every face.

        A picture without a face that can be embedded is refused.
        """
        access_of(request).check(request, "read", "embed")
        served = operations.face_model(models_of(request), model)
        metric = operations.verification(served).metric

        async def entry(found: list[EmbeddedFace]) -> Entry | RequestError:
            return operations.embedded(found)

        def whole(pictures: Any) -> EachEmbedded:
            return EachEmbedded.model_construct(
                model=served.stamp,
                provider=served.runtime.provider,
                metric=metric,
                pictures=pictures,
            )

        bulk = Bulk(request, pool, errors)
        if bulk.asked:
            return await _embed_each(bulk, pool, served, aligned, several, entry, whole)
        faces = operations.embeddable(
            await _embed(request, pool, served, await read_contents(request), aligned, several)
        )
        return json_response(
            Embedded(
                model=served.stamp,
                provider=served.runtime.provider,
                metric=metric,
                faces=tuple(face.found for face in faces),
                embeddings=[vector.tolist() for vector in operations.vectors_of(faces)],
            )
        )


def _add_identify(router: APIRouter, pool: Executor) -> None:
    @router.post("/identify", response_model=Identified | EachIdentified, **EACH)
    async def identify(
        request: Request,
        *,
        aligned: Aligned = False,
        several: SeveralFaces = "main",
        fmr: Fmr = None,
        top: Annotated[int, Query(ge=1, le=1000, description="number of people to return")] = 5,
        errors: EachOrRequest = "request",
    ) -> Response:
        """Return the enrolled people nearest to the face in each picture, or to every face."""
        access_of(request).check(request, "read", "identify")
        served = await gallery_model(request)
        threshold = operations.threshold_of(served, fmr)
        gallery = gallery_of(request)

        async def identified(faces: Sequence[EmbeddedFace]) -> Identified:
            return await run_in_threadpool(
                operations.identify, served, gallery, faces, threshold, top
            )

        bulk = Bulk(request, pool, errors)
        if not bulk.asked:
            contents = await read_contents(request)
            faces = await _embed(request, pool, served, contents, aligned, several)
            return json_response(await identified(faces))

        async def entry(found: list[EmbeddedFace]) -> Entry:
            return IdentifiedFaces(faces=(await identified(found)).pictures)

        def whole(pictures: Any) -> EachIdentified:
            nobody = operations.identify(served, gallery, (), threshold, top)
            return EachIdentified.model_construct(**dict(nobody) | {"pictures": pictures})

        return await _embed_each(bulk, pool, served, aligned, several, entry, whole)


def _add_enrolment(router: APIRouter, pool: Executor) -> None:
    @router.put(
        "/people/{person}/pictures",
        response_model=EnrolledPictures,
        openapi_extra=picture_body(("image",)),
        **GALLERY,
    )
    async def enrol(
        request: Request,
        person: PersonId,
        *,
        aligned: Aligned = False,
        several: OneFace = "main",
        key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Add pictures of a person.

        When this is answered, they are on disk and every worker finds them.
        """
        actor = access_of(request).check(request, "write")
        served = await gallery_model(request)
        contents = await read_contents(request)
        idempotency_key = _idempotency_key(key, person, str(aligned), several, *contents)
        faces = await _embed(request, pool, served, contents, aligned, several)
        operations.check_comparable(served, faces)
        kept = request.app.state.keeps_pictures
        new = [
            NewPicture(person, vector, aligned, content if kept else None, uuid.uuid4().hex)
            for vector, content in zip(operations.vectors_of(faces), contents, strict=True)
        ]
        store = gallery_of(request).writer
        done = await run_in_threadpool(
            store.enrol, person, served.artifact.hash, new, actor, idempotency_key
        )
        return json_response(EnrolledPictures(person=person, model=served.stamp, **done._asdict()))


def _idempotency_key(key: str | None, *parts: str | bytes) -> IdempotencyKey | None:
    if key is None:
        return None
    if not re.fullmatch(r"[ -~]{1,255}", key):
        raise RequestError(
            "bad-parameter",
            "Idempotency-Key has 1 to 255 printable ASCII characters; this one has not.",
        )
    return IdempotencyKey(key, fingerprint(*parts))
