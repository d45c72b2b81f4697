"""Reads multipart forms (RFC 7578)."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.pictures.limits import MAX_PICTURES
from serving.problems import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

USUAL_HEADERS = re.compile(
    rb"\r\nContent-Disposition: form-data; name=\"([\w.-]{1,64})\""
    rb"(?:; filename=\"[\w. -]{0,255}\")?\r\n"
    rb"(?:Content-Type: [\w/.+-]{1,100}\r\n)?\r\n"
)
"""How browsers, curl and Python's libraries begin a part, unless its names have odd characters."""
MAX_PARAMETERS = 64
"""Maximum number of semicolons in a header of a form; forms have one or two."""


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
