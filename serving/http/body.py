"""Reads the pictures in a request's body, within a limit of memory."""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from serving.http.middleware import context_of
from serving.http.wrong_bodies import FORM, check_body
from serving.pictures.archives import NAMES
from serving.pictures.limits import FORMATS, MAX_BODY_BYTES, MAX_PICTURES
from serving.problems import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PICTURE_FIELD = "image"

USUAL_HEADERS = re.compile(
    rb"\r\nContent-Disposition: form-data; name=\"([\w.-]{1,64})\""
    rb"(?:; filename=\"[\w. -]{0,255}\")?\r\n"
    rb"(?:Content-Type: [\w/.+-]{1,100}\r\n)?\r\n"
)
"""How browsers, curl and Python's libraries begin a part, unless its names have odd characters."""
MAX_PARAMETERS = 64
"""Maximum number of semicolons in a header of a form; forms have one or two."""


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


def form_parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and contents of the parts of a multipart form, in order.

    Raises:
        RequestError: the form cannot be read, or has too many parts.
    """
    parts = _usual_parts(body, boundary)
    if parts is not None:
        return parts
    reader = FormReader()
    with reading_form(reader):
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    return [(name, b"".join(data)) for name, data in reader.parts]


def _usual_parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the parts of a form as programs usually write it; None if it is not quite that.

    The parser takes as long as decoding a small picture, or a tenth of the time for a large one. It
    reads every form that is unusual, and says what is wrong with it.
    """
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MAX_PICTURES + 1)
    if first or not parts or not boundary or parts.pop() not in {b"--", b"--\r\n"}:
        return None
    found = []
    for part in parts:
        match = USUAL_HEADERS.match(part)
        if match is None:
            return None
        found.append((match[1], part[match.end() :]))
    return found


@contextmanager
def reading_form(reader: "FormReader") -> Iterator[None]:
    """Turn the failures of a parser into refusals, and check that the form was complete.

    Raises:
        RequestError: the form cannot be read.
    """
    try:
        yield
    except (FormParserError, ValueError) as error:
        raise RequestError("bad-form", f"the multipart form cannot be read: {error}") from None
    if not reader.complete:
        raise RequestError(
            "bad-form",
            "the multipart form is incomplete: its last boundary is missing; send the whole form.",
        )


def pictures_of(parts: Sequence[tuple[bytes, bytes]], field: str) -> list[bytes]:
    """Return the contents of the parts with the name `field`.

    Raises:
        RequestError: there are none.
    """
    pictures = [content for name, content in parts if name == field.encode()]
    if not pictures:
        raise RequestError(
            "no-picture", f"the form has no field {field!r}; send pictures under that name."
        )
    return pictures


class FormReader:
    """Collects (name, chunks) of each part from the parser's callbacks.

    A subclass may put the content of the parts elsewhere: it overrides `begin`, `data` and `end`.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, list[bytes]]] = []
        self.count = 0
        """Number of parts that have begun."""
        self.complete = False
        self.disposition = b""
        """Content-Disposition of the part that is being read."""
        self._header = b""
        self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self.begin,
            "on_part_data": self.data,
            "on_part_end": self.end,
            "on_end": self._finish,
        }

    def begin(self) -> None:
        """Begin a part, whose headers have been read."""
        self.parts.append((part_name(self.disposition), []))

    def data(self, data: bytes, start: int, end: int) -> None:
        """Add data[start:end] to the content of the part."""
        self.parts[-1][1].append(data[start:end])

    def end(self) -> None:
        """End the part."""

    def _begin(self) -> None:
        self.count += 1
        if self.count > MAX_PICTURES:
            raise RequestError(
                "too-many-parts",
                f"the form has more than {MAX_PICTURES} parts; send fewer pictures in one request.",
            )
        self.disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self.disposition = self._value
        self._header = self._value = b""

    def _finish(self) -> None:
        self.complete = True


@lru_cache(maxsize=64)  # a client uses the same names in all of its requests
def part_name(disposition: bytes) -> bytes:
    """Return the name of a part from its Content-Disposition (RFC 7578, section 4.2)."""
    return options_of(disposition).get(b"name", b"")


def options_of(header: bytes) -> dict[bytes, bytes]:
    """Return the parameters of a header, each of which takes time to parse.

    Raises:
        RequestError: there are more than `MAX_PARAMETERS`.
    """
    if header.count(b";") > MAX_PARAMETERS:
        raise RequestError(
            "bad-form",
            f"a header of the multipart form has more than {MAX_PARAMETERS} parameters, separated "
            "by semicolons; send its name and the name of a file, or the boundary, only.",
        )
    _, options = parse_options_header(header)
    return options


def _too_large() -> RequestError:
    return RequestError(
        "body-too-large",
        f"the body has more than {MAX_BODY_BYTES // 1_000_000} MB; send fewer or smaller pictures.",
    )
