"""Forms that programs usually write are read without the parser, and give what it gives."""

import httpx
import pytest
from python_multipart.multipart import MultipartParser

from serving.http.forms import USUAL_HEADERS, FormReader, form_parts
from serving.problems import RequestError

BOUNDARY = b"edge"
PICTURE = b"\xff\xd8 \r\n--edg \r\n\r\n--\r\n\0"


def form(*parts: bytes, boundary: bytes = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + (
        b"--" + boundary + end
    )


def part(content: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="image"' + more + b"\r\n\r\n" + content


def parsed(body: bytes, boundary: bytes = BOUNDARY) -> list[tuple[bytes, bytes]]:
    reader = FormReader()
    parser = MultipartParser(boundary, reader.callbacks())
    parser.write(body)
    parser.finalize()
    return [(name, b"".join(data)) for name, data in reader.parts]


USUAL = {
    "one": form(part(PICTURE)),
    "empty": form(part(b"")),
    "several": form(part(PICTURE), part(b"second", b'; filename="b c.jpg"'), part(b"\r\n")),
    "typed": form(part(PICTURE, b'; filename="a.jpg"\r\nContent-Type: image/jpeg')),
    "no line break at the end": form(part(PICTURE), end=b"--"),
}
UNUSUAL = {
    "epilogue": form(part(PICTURE)) + b"more",
    "quoted": form(part(PICTURE, b'; filename="a\\"b.jpg"')),
    "other header": form(b"X-Size: 3\r\n" + part(PICTURE)),
    "lower case": form(part(PICTURE).replace(b"Content-D", b"content-d")),
    "without quotes": form(part(PICTURE).replace(b'"', b"")),
}


@pytest.mark.parametrize("body", [*USUAL.values(), *UNUSUAL.values()], ids=[*USUAL, *UNUSUAL])
def test_forms_are_read_as_the_parser_reads_them(body: bytes) -> None:
    assert form_parts(body, BOUNDARY) == parsed(body)


@pytest.mark.parametrize("kind", USUAL)
def test_usual_forms_are_recognised(kind: str) -> None:
    start = USUAL[kind].removeprefix(b"--" + BOUNDARY)
    assert USUAL_HEADERS.match(start)


def test_httpx_writes_usual_forms() -> None:
    files = [("image", ("a-1.jpg", PICTURE, "image/jpeg"))] * 2
    request = httpx.Request("POST", "http://host", files=files)
    body = request.read()
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    assert form_parts(body, boundary) == [(b"image", PICTURE)] * 2
    assert USUAL_HEADERS.match(body.removeprefix(b"--" + boundary))


@pytest.mark.parametrize(
    "body",
    [
        form(part(PICTURE), end=b""),
        form(part(PICTURE))[:-30],
        form(part(PICTURE), end=b"-"),
        form(part(b"x" * 9), boundary=b"other"),
        form(*[part(b"")] * 1001),
        b"first\r\n" + form(part(PICTURE)),
        b"--edge\r\n" * 200_000,
    ],
)
def test_broken_forms_are_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        form_parts(body, BOUNDARY)
    assert caught.value.code in {"bad-form", "too-many-parts"}
