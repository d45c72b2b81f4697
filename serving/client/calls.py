"""The requests about models that the API answers, described without sending them.

Each function returns a `Call`. A connection sends it and reads the answer, so that the client that
blocks and the client that awaits share everything except the sending.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from artifacts import VitrineError
from artifacts.manifest import check_route
from serving.client.chunks import Rows, ServerError, Source, encode
from serving.problems import KINDS, RequestError
from serving.schemas import (
    NDJSON,
    NPY,
    PNG,
    Atlas,
    Classification,
    ClassifiedPicture,
    Drift,
    EachClassification,
    EachNeighbours,
    Explanation,
    Inspection,
    ModelInfo,
    ModelList,
    Neighbours,
    RefusedPicture,
)

Answer = TypeVar("Answer")
Document = TypeVar("Document", bound=BaseModel)
FormFields = list[tuple[str, tuple[str, bytes]]]
"""Fields of a multipart form, as httpx takes them."""

ClassifiedEntry = ClassifiedPicture | RefusedPicture
"""A picture of a request in which each is answered or refused on its own."""
ENTRY: TypeAdapter[ClassifiedEntry] = TypeAdapter(ClassifiedEntry)

MODELS = "/v1/models"
SUFFIXES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tar.gz": "application/gzip",
    ".tgz": "application/gzip",
}
"""Media types of archives, by how their names end."""
ATTEMPTS = 6
"""Maximum number of times that one request is sent while the server answers that it is busy."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, and how its answer is read.

    Args:
        method: HTTP method.
        path: path of the address, percent-encoded.
        read: returns the answer that a successful response holds; raises `ServerError` if the
            response holds something else.
        options: further arguments of httpx's `request`, such as `params` and `files`.
        attempts: maximum number of times that the request is sent.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    options: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = ATTEMPTS


def models() -> Call[ModelList]:
    """All models of the server."""
    return Call("GET", MODELS, json_of(ModelList))


def reload() -> Call[ModelList]:
    """Load new and changed artifacts."""
    return Call("POST", f"{MODELS}:reload", json_of(ModelList))


def model_info(name: str) -> Call[ModelInfo]:
    """One model."""
    return Call("GET", _model_path(name), json_of(ModelInfo))


def card(name: str) -> Call[str]:
    """The model card, as Markdown."""
    return Call("GET", f"{_model_path(name)}/card", lambda response: response.text)


def classify(
    name: str,
    pictures: Sequence[Source],
    top: int,
    keep: float | None = None,
    coverage: float | None = None,
) -> Call[Classification]:
    """The `top` most probable classes of each picture."""
    path = f"{_model_path(name)}/classify"
    options = _pictures(pictures, top=top, keep=keep, coverage=coverage)
    return Call("POST", path, json_of(Classification), options)


def classify_each(
    name: str,
    pictures: Sequence[Source],
    top: int,
    keep: float | None = None,
    coverage: float | None = None,
) -> Call[EachClassification]:
    """The `top` most probable classes of each picture, or why it is refused."""
    options = each_of(pictures, top=top, keep=keep, coverage=coverage)
    return Call("POST", f"{_model_path(name)}/classify", json_of(EachClassification), options)


def classify_archive(
    name: str, archive: Path, top: int, keep: float | None = None, coverage: float | None = None
) -> Call[list[ClassifiedEntry]]:
    """The same of the pictures in an archive, one a line; a connection sends the file in pieces.

    Raises:
        VitrineError: its name does not end as that of an archive.
    """
    headers = {"Accept": NDJSON, "Content-Type": _media_type(archive)}
    options = {"params": query(top=top, keep=keep, coverage=coverage), "headers": headers}
    return Call("POST", f"{_model_path(name)}/classify", _entries_of, options)


def classify_by_route(
    route: str,
    pictures: Sequence[Source],
    top: int,
    model: str | None,
    keep: float | None = None,
    coverage: float | None = None,
) -> Call[Classification]:
    """The same, from the default model of a route or from another one of that route.

    Raises:
        RequestError: no classifier can have a route of this name.
    """
    options = _pictures(pictures, top=top, model=model, keep=keep, coverage=coverage)
    return Call("POST", _route_path(route), json_of(Classification), options)


def classify_each_by_route(
    route: str,
    pictures: Sequence[Source],
    top: int,
    model: str | None,
    keep: float | None = None,
    coverage: float | None = None,
) -> Call[EachClassification]:
    """The same, or why a picture is refused.

    Raises:
        RequestError: no classifier can have a route of this name.
    """
    options = each_of(pictures, top=top, model=model, keep=keep, coverage=coverage)
    return Call("POST", _route_path(route), json_of(EachClassification), options)


def features(name: str, pictures: Sequence[Source]) -> Call[Rows]:
    """The features of each picture."""
    options = _pictures(pictures) | {"headers": {"Accept": NPY}}
    return Call("POST", f"{_model_path(name)}/features", array_of, options)


def inspect(name: str, pictures: Sequence[Source]) -> Call[Inspection]:
    """The shares of exact zeros after each activation."""
    return Call("POST", f"{_model_path(name)}/inspect", json_of(Inspection), _pictures(pictures))


def feature_map(name: str, picture: Source, layer: str) -> Call[Rows]:
    """The output of one activation."""
    options = _pictures([picture], layer=layer)
    return Call("POST", f"{_model_path(name)}/maps", array_of, options)


def explain(name: str, picture: Source, label: str | None) -> Call[Explanation]:
    """Which parts of a picture speak for a class."""
    options = _pictures([picture], **{"class": label})
    return Call("POST", f"{_model_path(name)}/explain", json_of(Explanation), options)


def explain_overlay(name: str, picture: Source, label: str | None) -> Call[bytes]:
    """The same, drawn over the picture."""
    options = _pictures([picture], **{"class": label}) | {"headers": {"Accept": PNG}}
    return Call("POST", f"{_model_path(name)}/explain", lambda r: r.content, options)


def neighbours(
    name: str, pictures: Sequence[Source], top: int, index: str | None
) -> Call[Neighbours]:
    """The `top` nearest pictures of the atlas, or of an index, to each picture."""
    path = f"{_model_path(name)}/neighbours"
    return Call("POST", path, json_of(Neighbours), _pictures(pictures, top=top, index=index))


def neighbours_each(
    name: str, pictures: Sequence[Source], top: int, index: str | None
) -> Call[EachNeighbours]:
    """The `top` nearest pictures to each picture, or why it is refused."""
    path = f"{_model_path(name)}/neighbours"
    return Call("POST", path, json_of(EachNeighbours), each_of(pictures, top=top, index=index))


def atlas(name: str) -> Call[Atlas]:
    """The pictures of a model's atlas."""
    return Call("GET", f"{_model_path(name)}/atlas", json_of(Atlas))


def atlas_sheet(name: str) -> Call[bytes]:
    """The JPEG that shows all pictures of the atlas."""
    return Call("GET", f"{_model_path(name)}/atlas/sheet", lambda response: response.content)


def drift(name: str) -> Call[Drift]:
    """The drift of the recent answers, with the moments that it is computed from."""
    options = {"params": {"moments": "true"}}
    return Call("GET", f"{_model_path(name)}/drift", json_of(Drift), options)


def picture_fields(pictures: Sequence[Source]) -> FormFields:
    """The form fields that pictures are sent in."""
    return [("image", ("picture", encode(picture))) for picture in pictures]


def each_of(pictures: Sequence[Source], **parameters: Any) -> dict[str, Any]:
    """The options of a request in which each picture is answered or refused on its own."""
    files = [("image", (None, encode(picture))) for picture in pictures]  # none has a name
    return {"files": files, "params": query(**parameters, errors="each")}


def query(**parameters: Any) -> dict[str, Any]:
    """The parameters that are not None; the server has a default for the others."""
    return {name: value for name, value in parameters.items() if value is not None}


def json_of(kind: type[Document]) -> Callable[[httpx.Response], Document]:
    """Return a function that reads a response as `kind` and raises `ServerError` if it is none."""

    def read(response: httpx.Response) -> Document:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            raise _unexpected(response, kind.__name__) from None

    return read


def array_of(response: httpx.Response) -> Rows:
    """The array that a .npy response holds.

    Raises:
        ServerError: the response holds no array.
    """
    try:
        array: Rows = np.load(io.BytesIO(response.content), allow_pickle=False)
    except (ValueError, EOFError):
        raise _unexpected(response, "array") from None
    return array


def entry_of(line: bytes) -> ClassifiedEntry:
    """The picture that a line of an answer is about.

    Raises:
        RequestError: the answer ends here, because the server could not complete it.
        ServerError: the line holds something else.
    """
    try:
        entry = ENTRY.validate_json(line)
    except ValidationError:
        raise ServerError("a line of the answer holds no picture; check the versions.") from None
    if isinstance(entry, RefusedPicture) and entry.index is None:
        if entry.problem.code not in KINDS:
            raise ServerError(f"the answer ended early: {entry.problem.detail}")
        raise RequestError(entry.problem.code, entry.problem.detail)
    return entry


def _entries_of(response: httpx.Response) -> list[ClassifiedEntry]:
    return [entry_of(line) for line in response.content.splitlines()]


def _media_type(archive: Path) -> str:
    for suffix, kind in SUFFIXES.items():
        if archive.name.lower().endswith(suffix):
            return kind
    raise VitrineError(f"{archive}: the name of an archive ends in {', '.join(SUFFIXES)}.")


def _unexpected(response: httpx.Response, expected: str) -> ServerError:
    return ServerError(f"{response.url} gave no {expected}; check the address and the versions.")


def _model_path(name: str) -> str:
    return f"{MODELS}/{quote(name, safe='')}"


def _route_path(route: str) -> str:
    try:
        check_route(route, "classification")
    except ValueError as error:
        raise RequestError("bad-parameter", f"route = {route!r}: {error}.") from None
    return f"/v1/{quote(route, safe='')}/classify"


def _pictures(pictures: Sequence[Source], **parameters: Any) -> dict[str, Any]:
    return {"files": picture_fields(pictures), "params": query(**parameters)}
