"""Reads the pictures out of a request body, bounded in memory."""

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from serving.pictures import MAX_BODY_BYTES
from serving.problems import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "image"


async def read_contents(request: Request) -> list[bytes]:
    """The encoded pictures of a request: all its form fields `image`, or its whole body.

    Raises:
        RequestError: too large, not readable as the form it says it is, or without a picture.
    """
    body = await read_body(request)
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        if not body:
            raise RequestError(
                "no-picture",
                "the body is empty; send a picture as the body, or as form field 'image'.",
            )
        return [body]
    return form_pictures(body, options.get(b"boundary", b""))


async def read_body(request: Request) -> bytes:
    """Read the body, stopping as soon as it is too large.

    Raises:
        RequestError: more than `MAX_BODY_BYTES`, announced or sent.
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


def form_pictures(body: bytes, boundary: bytes) -> list[bytes]:
    """Contents of the parts of a multipart form that are called `image`, in order.

    Raises:
        RequestError: not a form, or without such a part.
    """
    reader = _FormReader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise RequestError("bad-form", f"the multipart form cannot be read: {error}") from None
    if not reader.complete:
        raise RequestError(
            "bad-form", "the multipart form ends early; its last boundary is missing."
        )
    pictures = [b"".join(data) for name, data in reader.parts if name == FIELD.encode()]
    if not pictures:
        raise RequestError(
            "no-picture", f"the form has no field {FIELD!r}; send pictures under that name."
        )
    return pictures


class _FormReader:
    """Collects (name, chunks) of each part from the parser's callbacks."""

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, list[bytes]]] = []
        self.complete = False
        self._header = b""
        self._value = b""
        self._name = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._name, self._chunks = b"", []

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"")
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _end(self) -> None:
        self.parts.append((self._name, self._chunks))

    def _finish(self) -> None:
        self.complete = True


def _too_large() -> RequestError:
    return RequestError(
        "body-too-large",
        f"the body has more than {MAX_BODY_BYTES // 1_000_000} MB; send fewer or smaller pictures.",
    )
