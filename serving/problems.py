"""All reasons to refuse a request, in one table (RFC 9457 problem details)."""

from typing import Any, NamedTuple

from artifacts import VitrineError

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """What all problems with one code have in common."""

    status: int
    title: str


KINDS = {
    "bad-parameter": Kind(422, "A parameter is not valid"),
    "bad-form": Kind(400, "The multipart form cannot be read"),
    "no-picture": Kind(400, "The request carries no picture"),
    "body-too-large": Kind(413, "The request body is too large"),
    "too-many-pixels": Kind(413, "The pictures of the request are too large together"),
    "too-many-parts": Kind(413, "The multipart form has too many parts"),
    "bad-archive": Kind(400, "The archive cannot be used"),
    "archive-too-large": Kind(413, "The archive holds too much"),
    "unsupported-body": Kind(415, "The body does not carry pictures in an accepted way"),
    "unsupported-format": Kind(415, "Not a picture in an accepted format"),
    "damaged-picture": Kind(422, "The picture cannot be decoded"),
    "too-many-scans": Kind(422, "The JPEG has too many scans"),
    "picture-too-small": Kind(422, "The picture is too small"),
    "picture-too-large": Kind(413, "The picture is too large"),
    "unknown-model": Kind(404, "There is no such model"),
    "no-model-for-route": Kind(404, "No model serves this route"),
    "task-not-supported": Kind(422, "The model cannot do this"),
    "not-calibrated": Kind(422, "The model was not calibrated for this"),
    "no-atlas": Kind(404, "The model has no atlas"),
    "no-index": Kind(404, "The model has no such index of pictures"),
    "index-outdated": Kind(409, "The index holds embeddings of another version of the model"),
    "bad-inference-request": Kind(400, "The inference request cannot be read"),
    "no-key": Kind(401, "An API key is needed"),
    "scope-missing": Kind(403, "The API key does not allow this"),
    "this-machine-only": Kind(403, "The address answers to this machine only"),
    "no-face": Kind(422, "No face was found in the picture"),
    "several-faces": Kind(422, "Several faces were found in the picture"),
    "face-too-small": Kind(422, "The face is too small"),
    "face-blurred": Kind(422, "The face is too blurred"),
    "face-not-upright": Kind(422, "The face is not upright"),
    "no-embedding": Kind(422, "The picture has no embedding that can be compared"),
    "bad-person": Kind(422, "Not an id of a person"),
    "unknown-person": Kind(404, "There is no such person"),
    "unknown-picture": Kind(404, "The person has no such picture"),
    "idempotency-key-used": Kind(422, "The idempotency key was used before"),
    "another-model": Kind(409, "The gallery holds embeddings of another model"),
    "bad-gallery-file": Kind(422, "The file cannot be imported into the gallery"),
    "gallery-unavailable": Kind(503, "The gallery's database does not answer"),
    "feedback-off": Kind(404, "The server takes no feedback"),
    "bad-feedback": Kind(422, "The feedback cannot be read"),
    "unknown-answer": Kind(404, "There is no such answer"),
    "unknown-class": Kind(422, "The label is no class of the model"),
    "another-picture": Kind(422, "The picture is not the one that was answered"),
    "picture-not-kept": Kind(422, "The picture cannot be kept"),
    "unknown-feedback": Kind(404, "There is no such feedback"),
    "feedback-unavailable": Kind(503, "The feedback's database does not answer"),
    "model-unavailable": Kind(503, "The model could not be loaded"),
    "reload-failed": Kind(503, "The artifacts could not be loaded"),
    "no-disk-space": Kind(503, "The server's disk has no room for the request"),
    "overloaded": Kind(429, "The server is overloaded"),
    "request-too-slow": Kind(408, "The request did not arrive in time"),
    "answer-too-late": Kind(503, "The answer was not ready in time"),
    "server-starting": Kind(503, "The server is starting"),
    "server-stopping": Kind(503, "The server is stopping"),
    "not-found": Kind(404, "There is nothing at this address"),
    "method-not-allowed": Kind(405, "The address does not take this method"),
    "internal-error": Kind(500, "The server failed"),
}
"""HTTP status and title of each problem code."""

PASSING = frozenset(
    {"overloaded", "answer-too-late", "server-starting", "server-stopping"}
    | {"gallery-unavailable", "feedback-unavailable"}
)
"""Codes of problems that pass by themselves: the answers carry `Retry-After`."""


class RequestError(VitrineError):
    """The refusal of a request, with the reason.

    Args:
        code: a key of `KINDS`.
        reason: one line that says what was wrong, what is accepted, and what to do.
        picture: index in the request of the picture at fault; None if no single picture is.
        name: of that picture, if the request names its pictures.
        retry_after: seconds after which the request may be sent again, if the code says that it
            may.

    Raises:
        KeyError: the code is not in the table.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        picture: int | None = None,
        name: str | None = None,
        *,
        retry_after: float = 1.0,
    ) -> None:
        self.retry_after = retry_after
        self.code = code
        self.kind = KINDS[code]
        self.reason = reason
        self.picture = picture
        self.name = name
        super().__init__(self.detail)

    @property
    def detail(self) -> str:
        """The reason, preceded by the index of the picture at fault."""
        return self.reason if self.picture is None else f"picture {self.picture}: {self.reason}"

    @property
    def passes(self) -> bool:
        """Whether it passes by itself: the client may send the same request again."""
        return self.code in PASSING

    @property
    def status(self) -> int:
        """HTTP status of the problem."""
        return self.kind.status

    def at(self, picture: int, name: str | None = None) -> "RequestError":
        """Return the same problem for the picture with that index (from 0), and that name."""
        return RequestError(self.code, self.reason, picture, self.name if name is None else name)

    def content(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        members: dict[str, Any] = {
            "type": f"urn:vitrine:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.picture is not None:
            members["picture"] = self.picture
        if self.name is not None:
            members["name"] = self.name
        return members
