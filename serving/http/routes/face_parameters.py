"""What the routes of faces share: their parameters, and what the application holds for them."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from serving.faces.gallery import Gallery
from serving.faces.names import check_path, check_person
from serving.faces.operations import face_model
from serving.faces.schemas import Several
from serving.http.access import Access
from serving.http.intake import models_of
from serving.inference.models import ServedModel


def person_of(request: Request, person: Annotated[str, Path(min_length=1)]) -> str:
    """The person of the address."""
    check_path(request.scope)
    return check_person(person)


PersonId = Annotated[str, Depends(person_of)]
Aligned = Annotated[
    bool,
    Query(
        description="each picture is the aligned crop of one face: none is looked for, and nothing "
        "is checked"
    ),
]
SeveralFaces = Annotated[
    Several,
    Query(
        alias="several", description="of several faces in a picture take the largest, or refuse it"
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
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="makes it safe to send the same enrolment again: it is done once; remembered "
        "for 24 hours; 1 to 255 printable ASCII characters",
    ),
]


async def gallery_model(request: Request) -> ServedModel:
    """The model whose embeddings are enrolled; the best for an empty gallery."""
    gallery = gallery_of(request)

    def enrolled() -> str | None:
        return gallery.reader.model()  # `lookup` opens the database, which may take long to answer

    hash_ = await run_in_threadpool(enrolled)
    return face_model(models_of(request), hash_=hash_)


def gallery_of(request: Request) -> Gallery:
    """The gallery that this worker searches."""
    gallery: Gallery = request.app.state.gallery
    return gallery


def access_of(request: Request) -> Access:
    """The keys of this server."""
    access: Access = request.app.state.access
    return access
