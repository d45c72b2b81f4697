"""Every worker and every server reads what was written through another, at once."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from serving.client import Client
from tests.databases import has_pgvector, new_database
from tests.pictures import photograph
from tests.server import WORKERS, Server, start_server
from tests.serving.faces.conftest import LONG

pytestmark = pytest.mark.timeout(1800 if LONG else 300)

TRIES = 1000 if LONG else 60


@pytest.fixture(params=["one server, sqlite", "two servers"])
def servers(
    request: pytest.FixtureRequest, face_models: Path, tmp_path: Path
) -> Iterator[list[Server]]:
    if request.param.endswith("sqlite"):
        url = str(tmp_path / "gallery.sqlite3")
    else:
        url = new_database(request.getfixturevalue("postgresql"), f"g_{uuid.uuid4().hex}")
    other = "pgvector" if request.param.startswith("two") and has_pgvector(url) else "faiss"
    with ExitStack() as stack:
        started = []
        for number in range(2 if request.param.startswith("two") else 1):
            log = tmp_path / f"log-{number}"
            index = other if number else "faiss"  # where there is pgvector, both on one database
            server = start_server(face_models, log, VITRINE_DATABASE=url, VITRINE_FACE_INDEX=index)
            stack.callback(server.stop)
            started.append(server)
        yield started


def test_what_is_enrolled_at_one_is_found_at_another(servers: list[Server]) -> None:
    with ExitStack() as stack:
        clients = []  # neighbours are at two servers, where there are two
        for worker in range(WORKERS):
            for server in servers:
                with server.only_worker(worker):
                    client = stack.enter_context(Client(server.address))
                    client.gallery()
                    clients.append(client)
        for number in range(TRIES):
            here, there = (clients[(number + i) % len(clients)] for i in (0, 1))
            face = [np.asarray(photograph(32, 32, number))]
            here.enrol(f"{number}", face, aligned=True)
            best = there.identify(face, aligned=True, top=1).pictures[0].people[0]
            assert (best.person, best.distance) == (f"{number}", 0.0)
            if number % 2:
                there.remove_person(f"{number}")
                for client in clients:
                    left = client.identify(face, aligned=True, top=1).pictures[0].people
                    assert all(candidate.person != f"{number}" for candidate in left)
        kept = {f"{number}" for number in range(0, TRIES, 2)}
        removed = [np.asarray(photograph(32, 32, number)) for number in range(1, TRIES, 2)]
        for client in clients:
            assert {person.person for person in client.people()} == kept
            for picture in client.identify(removed, aligned=True, top=1).pictures:
                assert picture.people[0].person in kept
