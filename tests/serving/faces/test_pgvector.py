"""What is particular to a gallery that PostgreSQL searches by pgvector."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from artifacts import VitrineError
from serving.faces.database import check_pgvector
from serving.faces.gallery import Gallery
from serving.faces.pgvector_index import PgvectorIndex
from tests.serving.faces.test_gallery import (
    MODEL,
    D,
    enrol,
    face,
    fill,
    nearest,
    picture,
    wait_until_approximate,
)


@pytest.fixture
def faiss(pgvector_url: str) -> Gallery:
    """A server that searches with FAISS, on a database that others search by pgvector."""
    return Gallery(pgvector_url)


@pytest.fixture
def pgvector(pgvector_url: str) -> Gallery:
    return Gallery(pgvector_url, pgvector=True)


def searched(gallery: Gallery) -> list[str | None]:
    with gallery.database.read() as connection:
        rows = connection.execute(text("SELECT searched FROM embeddings ORDER BY picture"))
        return list(rows.scalars())


def test_a_gallery_of_faiss_moves_to_pgvector_and_back(faiss: Gallery, pgvector_url: str) -> None:
    fill(faiss, 100)
    pgvector = Gallery(pgvector_url, pgvector=True)
    pgvector.load(MODEL, "euclidean")
    assert len(searched(pgvector)) == 300
    assert None not in searched(pgvector)
    enrol(pgvector, "new", 1000)
    faiss.writer.remove_person("7", "test")
    for seed in (1000, 7, 1, 2):
        assert nearest(faiss, seed, 5) == nearest(pgvector, seed, 5)


def test_what_a_server_with_faiss_enrols_is_found_at_once(
    faiss: Gallery, pgvector: Gallery
) -> None:
    enrol(faiss, "first", 0)
    for seed in range(1, 20):
        enrol(faiss if seed % 2 else pgvector, f"{seed}", seed)
        assert nearest(pgvector, seed)[0].person == f"{seed}"
    assert None not in searched(pgvector)


def test_an_enrolment_is_searchable_in_its_own_transaction(pgvector: Gallery) -> None:
    enrol(pgvector, "p", 1, 2)
    for row, seed in zip(searched(pgvector), (1, 2), strict=True):
        assert row is not None
        assert np.array_equal(np.array(re.findall(r"[^\[\],]+", row), np.float32), face(seed))
    pgvector.writer.remove_person("p", "test")
    assert searched(pgvector) == []


def test_workers_that_start_at_once_share_the_filling(
    faiss: Gallery, pgvector_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(faiss, 100)
    monkeypatch.setattr("serving.faces.pgvector.FILL_ROWS", 10)
    workers = [Gallery(pgvector_url, pgvector=True) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda worker: worker.load(MODEL, "euclidean"), workers))
    assert None not in searched(workers[0])
    assert [nearest(worker, 3)[0].person for worker in workers] == ["3"] * 4


def test_one_worker_builds_the_index_for_all(
    pgvector: Gallery, pgvector_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.faces.pgvector_index.BUILD_WAIT_SECONDS", 0.1)
    fill(pgvector, 300)
    workers = [Gallery(pgvector_url, exact=100, pgvector=True) for _ in range(2)]
    for worker in workers:
        worker.load(MODEL, "euclidean")
    for worker in workers:
        wait_until_approximate(worker)
        assert worker.search_kind() == workers[0].search_kind()
    assert workers[0].search_kind()[0] == "approximate"
    query = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'searched%'"
    with psycopg.connect(pgvector_url) as connection:
        assert connection.execute(query).fetchone() == (1,)
    enrol(pgvector, "new", 5000)
    for worker in workers:
        assert nearest(worker, 5000)[0].person == "new"


def test_an_index_that_was_not_built_to_the_end_is_built_anew(
    pgvector: Gallery, pgvector_url: str
) -> None:
    fill(pgvector, 300)
    name = PgvectorIndex(pgvector.reader, MODEL, "euclidean", 0).name
    with psycopg.connect(pgvector_url) as connection:  # valid, but without its recall
        connection.execute(
            f"CREATE INDEX {name} ON embeddings USING hnsw"
            f" (CAST(searched AS halfvec({D})) halfvec_l2_ops) WHERE model = '{MODEL}'"
        )
    large = Gallery(pgvector_url, exact=100, pgvector=True)
    large.load(MODEL, "euclidean")
    wait_until_approximate(large)
    assert large.search_kind()[0] == "approximate"


def test_an_approximate_search_goes_on_until_there_are_enough_people(
    pgvector: Gallery, pgvector_url: str
) -> None:
    crowd = [picture("near", face(1) + np.float32(1e-3) * face(i)) for i in range(1500)]
    pgvector.writer.enrol("near", MODEL, crowd, "test")
    enrol(pgvector, "far", 2)
    large = Gallery(pgvector_url, exact=100, pgvector=True)
    large.load(MODEL, "euclidean")
    wait_until_approximate(large)
    assert [n.person for n in nearest(large, 1, 2)] == ["near", "far"]


def test_it_needs_postgresql(tmp_path: Path) -> None:
    with pytest.raises(VitrineError, match="needs VITRINE_DATABASE=postgresql"):
        check_pgvector(str(tmp_path / "gallery.sqlite3"))


def test_a_server_without_the_extension_is_refused(
    pgvector_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.faces.pgvector.EXTENSION", "no_such_extension")
    with pytest.raises(VitrineError, match="lacks the extension `no_such_extension`"):
        check_pgvector(pgvector_url)


def test_an_old_pgvector_is_refused(pgvector_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.faces.pgvector.MIN_VERSION", (99, 0))
    with pytest.raises(VitrineError, match=r"needs pgvector 99\.0 or later"):
        check_pgvector(pgvector_url)


def test_a_user_who_may_not_create_the_extension_is_told_so(pgvector_url: str) -> None:
    name = f"user_{urlsplit(pgvector_url).path[-8:]}"
    with psycopg.connect(pgvector_url, autocommit=True) as connection:
        connection.execute(f"CREATE USER {name}")
        connection.execute(f"GRANT ALL ON SCHEMA public TO {name}")
        theirs = pgvector_url.replace("//vitrine@", f"//{name}@")
        with pytest.raises(VitrineError, match="may not create the extension `vector`"):
            check_pgvector(theirs)
        connection.execute("CREATE EXTENSION vector")
    check_pgvector(theirs)


def test_a_database_that_is_away_is_tried_again_later() -> None:
    check_pgvector("postgresql://nobody@127.0.0.1:1/none")


def test_removal_leaves_no_row_behind(pgvector: Gallery) -> None:
    names = enrol(pgvector, "p", *range(5))
    enrol(pgvector, "q", 9)
    pgvector.writer.remove_picture("p", names[2], "test")
    assert len(searched(pgvector)) == 5
    assert all(n.picture != names[2] for n in nearest(pgvector, 2, 5))
    pgvector.writer.remove_person("p", "test")
    assert len(searched(pgvector)) == 1
    assert [n.person for n in nearest(pgvector, 0, 5)] == ["q"]
