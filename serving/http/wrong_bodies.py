"""Recognises bodies that carry pictures in a form that is not accepted, and says what to send."""

from starlette.requests import Request

from serving.problems import RequestError

BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8", b"BM")
"""First bytes of the accepted formats. A body that begins so is a picture, whatever its label."""
ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})
"""Values of Content-Encoding whose bodies are refused."""
URL_ENCODED = b"application/x-www-form-urlencoded"
FORM = b"multipart/form-data"
LINE_BREAKS_AND_ZEROS = (b"\n", b"\r", b"\0")
"""The bytes that `curl -d @FILE` removes. Every picture has a zero in its header."""
URL_ENCODED_PROBLEM = (
    "the body is sent as application/x-www-form-urlencoded, in which no picture arrives whole "
    "(`curl -d @FILE` removes line breaks and zero bytes; use -F or --data-binary); send the "
    "file's bytes as the body or in a multipart form"
)
JSON_PROBLEM = (
    "the body is labelled as JSON, which is not accepted, nor are pictures in base64; send the "
    "file's bytes as the body or in a multipart form"
)
TEXT_PROBLEM = (
    "the body is labelled as text and is no picture; send the file's bytes, not base64 or an "
    "address, as the body or in a multipart form"
)


def check_body(request: Request, body: bytes, kind: bytes, curl: str) -> None:
    """Check that a body is not encoded in a way that hides its pictures.

    A picture is accepted whatever the headers say about it: only a body that is neither a picture
    nor a form is looked at more closely.

    Args:
        request: the request that the body belongs to.
        body: the whole body.
        kind: media type of the Content-Type header, in lower case; empty if there is none.
        curl: arguments with which curl sends what is accepted here.

    Raises:
        RequestError: the body is compressed, or it is JSON, a URL-encoded form or text.
    """
    stripped = kind == URL_ENCODED and not any(each in body for each in LINE_BREAKS_AND_ZEROS)
    if not body or (body.startswith(b"--" if kind == FORM else BEGINNINGS) and not stripped):
        return
    problem = _problem(request, body, kind)
    if problem is not None:
        raise RequestError("unsupported-body", f"{problem}, for example: curl {curl} ADDRESS")


def _problem(request: Request, body: bytes, kind: bytes) -> str | None:
    """Return what is wrong with a body that is no picture, and what to do; None if unknown."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ENCODINGS:
        return (
            f"the body is compressed (Content-Encoding: {encoding}), which is not accepted; send "
            "it unencoded"
        )
    if kind == FORM:
        return None
    if body.startswith(b"@"):
        return (
            "the body is the text '@…', not the file of that name; have curl read the file with "
            "-F or --data-binary"
        )
    labels = {URL_ENCODED: URL_ENCODED_PROBLEM, b"application/json": JSON_PROBLEM}
    if kind.endswith(b"+json"):
        return JSON_PROBLEM
    return labels.get(kind, TEXT_PROBLEM if kind.startswith(b"text/") else None)
