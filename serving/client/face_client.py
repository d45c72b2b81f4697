"""The typed client of faces: verify two, enrol people, identify one among them.

faces = FaceClient("http://127.0.0.1:3000", key="...")
faces.enrol("Ada Lovelace", [Path("ada.png").read_bytes()])
answer = faces.identify([Path("who.png").read_bytes()])
print(answer.pictures[0].people[0].person)
"""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from serving.client.chunks import Source, encode, picture_form
from serving.client.connection import Connection
from serving.faces.names import check_person
from serving.faces.schemas import (
    ChangeInfo,
    ChangeList,
    Embedded,
    EnrolledPictures,
    GalleryInfo,
    Identified,
    Imported,
    Person,
    PersonList,
    PersonSummary,
    Receipt,
    Several,
    Verified,
)

BASE = "/v1/faces"


class FaceClient:
    """Asks a running server about faces.

    Pictures are encoded files, or uint8 H x W x 3 RGB arrays. With `aligned`, each is the aligned
    crop of one face; else the face is found, and of `several` the largest taken or none.
    Every method raises a `VitrineError` (one line) where it gets no answer: `RequestError`
    for what the server refuses.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, where the server has keys.
        timeout: seconds to wait for one request.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        self._server = Connection(url, timeout, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._server.close()

    def verify(
        self,
        first: Source,
        second: Source,
        *,
        aligned: bool = False,
        several: Several = "largest",
        fmr: float | None = None,
        model: str | None = None,
    ) -> Verified:
        """Whether two pictures show one person, at a target false-match rate of the model."""
        options = face_options(aligned=aligned, several=several, fmr=fmr, model=model)
        response = self._server.send(
            "POST", f"{BASE}/verify", params=options, files=pair_of(first, second)
        )
        return self._server.parse(Verified, response)

    def embed(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "largest",
        model: str | None = None,
    ) -> Embedded:
        """The embedding of the face on each picture."""
        options = face_options(aligned=aligned, several=several, model=model)
        response = self._server.send(
            "POST", f"{BASE}/embed", params=options, files=picture_form(pictures)
        )
        return self._server.parse(Embedded, response)

    def identify(
        self,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "largest",
        fmr: float | None = None,
        top: int = 5,
    ) -> Identified:
        """The `top` people enrolled who are nearest to the face on each picture."""
        options = face_options(aligned=aligned, several=several, fmr=fmr, top=top)
        response = self._server.send(
            "POST", f"{BASE}/identify", params=options, files=picture_form(pictures)
        )
        return self._server.parse(Identified, response)

    def enrol(
        self,
        person: str,
        pictures: Sequence[Source],
        *,
        aligned: bool = False,
        several: Several = "largest",
        idempotency_key: str | None = None,
    ) -> EnrolledPictures:
        """Add pictures of a person.

        Args:
            person: id, 1 to 200 characters without control characters and `/`.
            pictures: at least one.
            aligned: as above.
            several: as above.
            idempotency_key: give the same one to repeat an enrolment whose answer did not come;
                a new one by default.
        """
        response = self._server.send(
            "PUT",
            f"{_path(person)}/pictures",
            params=face_options(aligned=aligned, several=several),
            files=picture_form(pictures),
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
        )
        return self._server.parse(EnrolledPictures, response)

    def gallery(self) -> GalleryInfo:
        """How large the gallery is, and how it is searched."""
        return self._server.parse(GalleryInfo, self._server.send("GET", BASE))

    def people(self) -> Iterator[PersonSummary]:
        """Everybody who is enrolled, asked for in pages."""
        after: int | None = 0
        while after is not None:
            response = self._server.send("GET", f"{BASE}/people", params={"after": after})
            page = self._server.parse(PersonList, response)
            yield from page.people
            after = page.next

    def person(self, person: str) -> Person:
        """What is stored about a person."""
        return self._server.parse(Person, self._server.send("GET", _path(person)))

    def remove_person(self, person: str) -> Receipt:
        """Remove a person with all their pictures."""
        return self._server.parse(Receipt, self._server.send("DELETE", _path(person)))

    def remove_picture(self, person: str, picture: str) -> Receipt:
        """Remove one picture of a person."""
        path = f"{_path(person)}/pictures/{_quoted(picture)}"
        return self._server.parse(Receipt, self._server.send("DELETE", path))

    def changes(self) -> Iterator[ChangeInfo]:
        """The change log, oldest first, asked for in pages."""
        after: int | None = 0
        while after is not None:
            response = self._server.send("GET", f"{BASE}/changes", params={"after": after})
            page = self._server.parse(ChangeList, response)
            yield from page.changes
            after = page.next

    def export_gallery(self, file: Path) -> None:
        """Write the whole gallery to a Parquet file."""
        self._server.download(f"{BASE}/export", file)

    def import_gallery(self, file: Path) -> Imported:
        """Add the pictures of an exported Parquet file; those that are there stay as they are.

        Waits for the answer as long as it takes: minutes, for a large gallery.
        """
        with file.open("rb") as content:
            response = self._server.send(  # once: the file cannot be sent from its start again
                "POST", f"{BASE}/import", content=content, timeout=None, attempts=1
            )
        return self._server.parse(Imported, response)


def pair_of(first: Source, second: Source) -> list[tuple[str, tuple[str, bytes]]]:
    """The form of two pictures that are compared."""
    return [("first", ("first", encode(first))), ("second", ("second", encode(second)))]


def face_options(**given: Any) -> dict[str, Any]:
    """The query of what is asked for; what is None is left to the server."""
    return {name: value for name, value in given.items() if value is not None}


def _path(person: str) -> str:
    return f"{BASE}/people/{_quoted(check_person(person))}"


def _quoted(name: str) -> str:
    # dots, too: `..` is a name here, and would be the folder above in an address
    return quote(name, safe="").replace(".", "%2E")
