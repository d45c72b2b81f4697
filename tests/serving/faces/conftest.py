"""Galleries in both kinds of database, and a model to fill them with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import Client
from serving.faces.gallery import Gallery
from tests.graphs import face_artifact

LONG = bool(os.environ.get("VITRINE_LONG_TESTS"))
"""Whether tests repeat as often as is worth it before a release, not at every change."""


@pytest.fixture(scope="session")
def face_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts with one model of faces."""
    root = tmp_path_factory.mktemp("face-models")
    face_artifact(root)
    return root


@pytest.fixture
def gallery(database_url: str) -> Iterator[Gallery]:
    gallery = Gallery(database_url)
    yield gallery
    gallery.database.close()


@pytest.fixture
def faces(address: str) -> Iterator[Client]:
    """The server at the test module's `address`, with an empty gallery."""
    with Client(address) as client:
        for person in list(client.people()):
            client.remove_person(person.person)
        yield client
