"""What the routes of faces share: their parameters, and access to the application's state."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from serving.faces.gallery import Gallery
from serving.faces.names import check_path, check_person
from serving.faces.operations import face_model
from serving.faces.schemas import ChosenFace, Several
from serving.http.access import Access
from serving.http.intake import models_of
from serving.inference.served_model import ServedModel


def person_of(request: Request, person: Annotated[str, Path(min_length=1)]) -> str:
    """Return the id of the person in the address.

    Raises:
        RequestError: it is not valid.
    """
    check_path(request.scope)
    return check_person(person)


MAX_INT64 = 2**63 - 1
"""The largest number of a change that a database holds."""

PersonId = Annotated[str, Depends(person_of)]
Aligned = Annotated[
    bool,
    Query(
        description="whether each picture is the aligned crop of one face; the pictures are then "
        "embedded as they are, without looking for a face or checking its quality"
    ),
]
CHOICES = (
    "what to do if a picture shows several faces: use the main one, by size and closeness to the "
    "middle, or the largest, or refuse the picture"
)
OneFace = Annotated[ChosenFace, Query(alias="several", description=CHOICES)]
SeveralFaces = Annotated[
    Several,
    Query(alias="several", description=f"{CHOICES} (error), or answer for all of them, 64 at most"),
]
ModelName = Annotated[
    str | None, Query(description="name of an embedding model of this server; the best by default")
]
Fmr = Annotated[
    float | None,
    Query(
        gt=0,
        lt=1,
        description="target false-match rate, one of those for which the model was calibrated; by "
        "default 0.001 or, if that is not one of them, the strictest",
    ),
]
After = Annotated[int, Query(ge=0, le=MAX_INT64, description="`next` of the previous page")]
Limit = Annotated[int, Query(ge=1, le=1000, description="maximum number of entries of a page")]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="makes it safe to repeat the same enrolment, which is carried out once; "
        "remembered for 24 hours; 1 to 255 printable ASCII characters",
    ),
]


async def gallery_model(request: Request) -> ServedModel:
    """Return the model of the gallery, or the best face model if that is not served."""
    gallery = gallery_of(request)

    def enrolled() -> str | None:
        return gallery.reader.model()  # opens the database, which may be slow to answer

    hash_ = await run_in_threadpool(enrolled)
    return face_model(models_of(request), hash_=hash_)


def gallery_of(request: Request) -> Gallery:
    """Return the gallery that this worker searches."""
    gallery: Gallery = request.app.state.gallery
    return gallery


def access_of(request: Request) -> Access:
    """Return the access control of this server."""
    access: Access = request.app.state.access
    return access
