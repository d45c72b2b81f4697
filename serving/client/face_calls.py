"""The requests about faces and their gallery that the API answers, described without sending them.

Options such as `aligned` and `fmr` are those of the methods of `Client`; None leaves an option to
the server.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from serving.client.calls import Call, each_of, json_of, picture_fields, query
from serving.client.chunks import Source, encode
from serving.faces.names import check_person
from serving.faces.schemas import (
    ChangeInfo,
    ChangeList,
    EachEmbedded,
    EachIdentified,
    Embedded,
    EnrolledPictures,
    GalleryInfo,
    Identified,
    Imported,
    Person,
    PersonList,
    PersonSummary,
    Receipt,
    Verified,
)

Entry = TypeVar("Entry")

FACES = "/v1/faces"


class Page(NamedTuple, Generic[Entry]):
    """Some entries of a list, and the number that the next page is requested with."""

    entries: Sequence[Entry]
    next: int | None


def verify(first: Source, second: Source, **options: Any) -> Call[Verified]:
    """Compare two pictures."""
    files = [("first", ("first", encode(first))), ("second", ("second", encode(second)))]
    content = {"files": files, "params": query(**options)}
    return Call("POST", f"{FACES}/verify", json_of(Verified), content)


def embed(pictures: Sequence[Source], **options: Any) -> Call[Embedded]:
    """Embed the face on each picture."""
    content = {"files": picture_fields(pictures), "params": query(**options)}
    return Call("POST", f"{FACES}/embed", json_of(Embedded), content)


def embed_each(pictures: Sequence[Source], **options: Any) -> Call[EachEmbedded]:
    """The same, or why a picture is refused."""
    return Call("POST", f"{FACES}/embed", json_of(EachEmbedded), each_of(pictures, **options))


def identify(pictures: Sequence[Source], **options: Any) -> Call[Identified]:
    """Find the enrolled people who are nearest to the face on each picture."""
    content = {"files": picture_fields(pictures), "params": query(**options)}
    return Call("POST", f"{FACES}/identify", json_of(Identified), content)


def identify_each(pictures: Sequence[Source], **options: Any) -> Call[EachIdentified]:
    """The same, or why a picture is refused."""
    return Call("POST", f"{FACES}/identify", json_of(EachIdentified), each_of(pictures, **options))


def enrol(
    person: str, pictures: Sequence[Source], idempotency_key: str | None, **options: Any
) -> Call[EnrolledPictures]:
    """Add pictures of a person.

    A new idempotency key is part of the call: sending it again does not enrol the pictures twice.
    """
    content = {
        "files": picture_fields(pictures),
        "params": query(**options),
        "headers": {"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
    }
    return Call("PUT", f"{_person_path(person)}/pictures", json_of(EnrolledPictures), content)


def gallery() -> Call[GalleryInfo]:
    """The size of the gallery and how it is searched."""
    return Call("GET", FACES, json_of(GalleryInfo))


def people(after: int) -> Call[Page[PersonSummary]]:
    """One page of the people who are enrolled."""
    read = json_of(PersonList)
    return Call(
        "GET",
        f"{FACES}/people",
        lambda response: Page((page := read(response)).people, page.next),
        {"params": {"after": after}},
    )


def changes(after: int) -> Call[Page[ChangeInfo]]:
    """One page of the change log."""
    read = json_of(ChangeList)
    return Call(
        "GET",
        f"{FACES}/changes",
        lambda response: Page((page := read(response)).changes, page.next),
        {"params": {"after": after}},
    )


def person(person: str) -> Call[Person]:
    """What is stored about a person."""
    return Call("GET", _person_path(person), json_of(Person))


def remove_person(person: str) -> Call[Receipt]:
    """Remove a person with all their pictures."""
    return Call("DELETE", _person_path(person), json_of(Receipt))


def remove_picture(person: str, picture: str) -> Call[Receipt]:
    """Remove one picture of a person."""
    path = f"{_person_path(person)}/pictures/{_quoted(picture)}"
    return Call("DELETE", path, json_of(Receipt))


def export_gallery() -> Call[bytes]:
    """The gallery as Parquet. It may be large: connections can write it to a file in pieces."""
    return Call("GET", f"{FACES}/export", lambda response: response.content)


def import_gallery(content: BinaryIO | AsyncIterator[bytes], size: int) -> Call[Imported]:
    """Add the pictures of an exported Parquet file.

    Args:
        content: the file's content; async if an async connection sends it.
        size: length of the content, in bytes.
    """
    options = {"content": content, "headers": {"Content-Length": str(size)}, "timeout": None}
    # one attempt: the content cannot be sent a second time from its start
    return Call("POST", f"{FACES}/import", json_of(Imported), options, attempts=1)


def _person_path(person: str) -> str:
    return f"{FACES}/people/{_quoted(check_person(person))}"


def _quoted(name: str) -> str:
    # dots, too: `..` is a valid name, but in an address it means the parent folder
    return quote(name, safe="").replace(".", "%2E")
