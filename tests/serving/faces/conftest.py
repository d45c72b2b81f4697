"""Galleries of every kind, and a model to fill them with."""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from serving.client import Client
from serving.faces.gallery import Gallery
from tests.databases import NO_PGVECTOR, drop_database, has_pgvector, new_database
from tests.graphs import face_artifact

LONG = bool(os.environ.get("VITRINE_LONG_TESTS"))
"""Whether tests repeat as often as is worth it before a release, not at every change."""


@pytest.fixture(scope="session")
def face_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts with one model of faces."""
    root = tmp_path_factory.mktemp("face-models")
    face_artifact(root)
    return root


class OpenGallery(Protocol):
    """Opens a gallery as one worker does; all of a test are on one database."""

    def __call__(self, exact: int = 100_000) -> Gallery: ...


@pytest.fixture
def pgvector_url(postgresql: str) -> Iterator[str]:
    """An empty database on a server that has pgvector."""
    if not has_pgvector(postgresql):
        pytest.skip(NO_PGVECTOR)
    url = new_database(postgresql, f"test_{uuid.uuid4().hex}")
    yield url
    drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql", "pgvector"])
def open_gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenGallery]:
    """Searched by FAISS on both kinds of database, and by pgvector."""
    pgvector = request.param == "pgvector"
    if request.param == "sqlite":
        url = str(tmp_path / "vitrine.sqlite3")
    elif pgvector:
        url = request.getfixturevalue("pgvector_url")
    else:
        url = new_database(request.getfixturevalue("postgresql"), f"test_{uuid.uuid4().hex}")
    with ExitStack() as stack:
        if request.param == "postgresql":
            stack.callback(drop_database, url)

        def open_one(exact: int = 100_000) -> Gallery:
            gallery = Gallery(url, exact=exact, pgvector=pgvector)
            stack.callback(gallery.database.close)
            return gallery

        yield open_one


@pytest.fixture
def gallery(open_gallery: OpenGallery) -> Gallery:
    return open_gallery()


@pytest.fixture
def faces(address: str) -> Iterator[Client]:
    """The server at the test module's `address`, with an empty gallery."""
    with Client(address) as client:
        for person in list(client.people()):
            client.remove_person(person.person)
        yield client
