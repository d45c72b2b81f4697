"""One request of the hostile corpus."""

from dataclasses import dataclass, field

REFUSED = frozenset({400, 404, 405, 408, 411, 413, 414, 415, 422, 431})
ANSWERED = frozenset({200})
EITHER = REFUSED | ANSWERED


@dataclass(frozen=True)
class Case:
    """One request, and the statuses that are right for it."""

    kind: str
    name: str
    body: bytes
    statuses: frozenset[int] = EITHER
    content_type: str | None = None
    size: tuple[int, int] | None = None
    """(width, height) that the answer must tell."""
    path: str = "/v1/models/tiny/classify"
    headers: dict[str, str] = field(default_factory=dict)
