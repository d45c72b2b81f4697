"""Reads the pictures in a request's body, within a limit of memory."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

from starlette.requests import Request

from serving.http.forms import form_parts, options_of, pictures_of
from serving.http.middleware import context_of
from serving.http.wrong_bodies import FORM, check_body
from serving.pictures.archives import NAMES
from serving.pictures.limits import FORMATS, MAX_BODY_BYTES
from serving.problems import RequestError

PICTURE_FIELD = "image"


def picture_body(fields: Sequence[str], *, archives: bool = False) -> dict[str, Any]:
    """Return the OpenAPI description of a body with pictures in these form fields.

    If there is one field, it may be repeated, and the body may also be a single picture, or with
    `archives` an archive of pictures.
    """
    binary = {"type": "string", "format": "binary"}
    several = {"type": "array", "minItems": 1, "items": binary}
    alone = len(fields) == 1
    form = {
        "type": "object",
        "required": [*fields],
        "properties": dict.fromkeys(fields, several if alone else binary),
    }
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if alone:
        content |= {f"image/{name.lower()}": {"schema": binary} for name in FORMATS}
    if archives:
        content |= {name: {"schema": binary} for name in NAMES}
    description = (
        "One or more pictures as form fields, or one picture as the body."
        if alone
        else "Two pictures as form fields."
    )
    if archives:
        description = "One or more pictures as form fields, one as the body, or an archive."
    body = {"required": True, "description": description, "content": content}
    return {"requestBody": body}


async def read_contents(request: Request) -> list[bytes]:
    """Return the encoded pictures of a request: all form fields `image`, or the whole body.

    Raises:
        RequestError: the body is too large, is a form that cannot be read, has no picture, or is
            of a kind that `check_body` refuses.
    """
    body = await read_body(request)
    kind, boundary = content_type(request)
    check_body(request, body, kind, "-F image=@picture.jpg")
    if kind != FORM:
        if not body:
            raise RequestError(
                "no-picture",
                "the body is empty; send a picture as the body or as the form field 'image'.",
            )
        return [body]
    return pictures_of(form_parts(body, boundary), PICTURE_FIELD)


async def read_pair(request: Request) -> list[bytes]:
    """Return the encoded pictures in the form fields `first` and `second`.

    Raises:
        RequestError: the body is too large, is not a form that can be read, does not have exactly
            one picture in each of the two fields, or is of a kind that `check_body` refuses.
    """
    body = await read_body(request)
    kind, boundary = content_type(request)
    check_body(request, body, kind, "-F first=@one.jpg -F second=@two.jpg")
    if kind != FORM:
        raise RequestError(
            "no-picture",
            "the body is not a form; send two pictures as form fields 'first' and 'second'.",
        )
    parts = form_parts(body, boundary)
    pair = []
    for field in ("first", "second"):
        contents = pictures_of(parts, field)
        if len(contents) > 1:
            raise RequestError(
                "bad-form", f"the form has {len(contents)} fields {field!r}; send one."
            )
        pair += contents
    return pair


@contextmanager
def on_disk() -> Iterator[None]:
    """Refuse a request, part of which is kept in a temporary file, if the disk has no room for it.

    Raises:
        RequestError: the disk is full, or nothing may be written to it.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        raise RequestError(
            "no-disk-space",
            f"the disk of the server's temporary files takes no more ({error.strerror}); make "
            "room on it or set TMPDIR to a folder on another, or send less at once.",
        ) from None


async def read_to_file(request: Request, file: BinaryIO, limit: int) -> None:
    """Write the body to a file, and stop as soon as it is too large.

    What is written no longer counts against the request's share of the admission budget.

    Raises:
        RequestError: the body has more than `limit` bytes.
    """
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise RequestError(
                "body-too-large",
                f"the body has more than {limit // 1_000_000} MB, which is the limit.",
            )
        file.write(chunk)
        context_of(request).place.give_bytes(len(chunk))


async def read_body(request: Request) -> bytes:
    """Read the body, and stop as soon as it is too large.

    Raises:
        RequestError: the body has more than `MAX_BODY_BYTES`, by its Content-Length or as received.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def media_type(request: Request) -> bytes:
    """Return the media type of a body, in lower case; empty if it has none."""
    return _media_type(request.headers.get("content-type", ""))


@lru_cache(maxsize=64)  # a client's requests differ in the boundary only
def _media_type(given: str) -> bytes:
    return given.partition(";")[0].strip().lower().encode("latin-1", "replace")


def content_type(request: Request) -> tuple[bytes, bytes]:
    """Return the media type of a body, in lower case, and the boundary of a form; empty if missing.

    Raises:
        RequestError: the body is a form, and its Content-Type has too many parameters.
    """
    given = request.headers.get("content-type", "")
    kind = _media_type(given)
    return kind, _boundary(given) if kind == FORM else b""


@lru_cache(maxsize=64)
def _boundary(given: str) -> bytes:
    return options_of(given.encode("latin-1", "replace")).get(b"boundary", b"")


def _too_large() -> RequestError:
    return RequestError(
        "body-too-large",
        f"the body has more than {MAX_BODY_BYTES // 1_000_000} MB; send fewer or smaller pictures.",
    )
