"""The gallery in process, on both databases; two `Gallery` objects are two workers."""

import asyncio
import itertools
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import select, update
from starlette.requests import Request

from serving.faces import gallery as gallery_module
from serving.faces import writer as writer_module
from serving.faces.database import Database
from serving.faces.gallery import Gallery, Neighbour
from serving.faces.idempotency import KEY_LIFETIME, IdempotencyKey, fingerprint
from serving.faces.index import Index, Metric
from serving.faces.tables import changes, requests
from serving.faces.tables import gallery as gallery_table
from serving.faces.writer import NewPicture
from serving.http.routes.face_parameters import gallery_model
from serving.problems import RequestError
from tests.serving.faces.conftest import OpenGallery

MODEL = "a" * 64
OTHER = "b" * 64
D = 32


def face(seed: int, dimension: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


def picture(person: str, vector: np.ndarray, content: bytes | None = None) -> NewPicture:
    return NewPicture(person, vector, aligned=True, content=content, id=uuid.uuid4().hex)


def enrol(gallery: Gallery, person: str, *seeds: int) -> tuple[str, ...]:
    new = [picture(person, face(seed)) for seed in seeds]
    return gallery.writer.enrol(person, MODEL, new, "test").pictures


def nearest(gallery: Gallery, seed: int, count: int = 1) -> list[Neighbour]:
    return gallery.search(face(seed), MODEL, "euclidean", count)


@pytest.fixture
def other_worker(open_gallery: OpenGallery) -> Gallery:
    return open_gallery()


def test_one_worker_finds_what_another_enrolled(gallery: Gallery, other_worker: Gallery) -> None:
    assert nearest(other_worker, 1) == []
    for seed in range(50):
        (name,) = enrol(gallery, f"person {seed}", seed)
        (found,) = nearest(other_worker, seed)
        assert found == Neighbour(f"person {seed}", name, 0.0)
    gallery.writer.remove_person("person 7", "test")
    assert nearest(other_worker, 7)[0].person != "person 7"
    assert other_worker.reader.state() == (MODEL, 102, 49, 49)


def test_search_is_exact_and_names_each_person_once(gallery: Gallery) -> None:
    vectors = {}
    for seed in range(60):
        person = f"person {seed % 4}"
        enrol(gallery, person, seed)
        vectors[seed] = person
    query = face(1000)
    away = {seed: float(np.linalg.norm(face(seed) - query)) for seed in vectors}
    expected: dict[str, float] = {}
    for seed in sorted(away, key=lambda s: away[s]):
        expected.setdefault(vectors[seed], away[seed])
    found = nearest(gallery, 1000, 10)
    assert [n.person for n in found] == list(expected)
    np.testing.assert_allclose([n.distance for n in found], list(expected.values()), rtol=1e-6)


def test_one_person_with_many_near_pictures_does_not_hide_the_next(gallery: Gallery) -> None:
    near = face(1)
    crowd = [picture("near", near + np.float32(1e-3) * face(i)) for i in range(200)]
    gallery.writer.enrol("near", MODEL, crowd, "test")
    enrol(gallery, "far", 2)
    assert [n.person for n in nearest(gallery, 1, 2)] == ["near", "far"]


def test_cosine_is_one_minus_the_cosine(gallery: Gallery) -> None:
    vectors = [np.float32(scale) * face(seed) for seed, scale in ((1, 0.01), (2, 1.0), (3, 50.0))]
    for index, vector in enumerate(vectors):
        gallery.writer.enrol(str(index), MODEL, [picture(str(index), vector)], "test")
    query = face(9)
    cosines = [float(v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for v in vectors]
    found = gallery.search(query, MODEL, "cosine", 3)
    assert [n.person for n in found] == [str(i) for i in np.argsort([-c for c in cosines])]
    np.testing.assert_allclose(
        [n.distance for n in found], sorted(1 - c for c in cosines), rtol=1e-5
    )


def test_numbers_are_committed_in_order(gallery: Gallery, other_worker: Gallery) -> None:
    """A reader that has seen number n never meets a smaller one later."""
    stop = threading.Event()
    seen: list[list[int]] = []

    def watch() -> None:
        while not stop.is_set():
            seen.append([row.number for row in other_worker.reader.changes(0, 10_000)])

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: enrol(gallery, f"p{seed}", seed), range(60)))
    stop.set()
    watcher.join()
    for before, after in itertools.pairwise(seen):
        assert after[: len(before)] == before
        assert after == list(range(1, len(after) + 1))
    assert gallery.reader.state()[1] == 120


def test_a_repeated_enrolment_is_done_once(gallery: Gallery, other_worker: Gallery) -> None:
    idempotency_key = IdempotencyKey("key-1", fingerprint("p", b"bytes"))

    def once(worker: Gallery) -> tuple[str, ...]:
        return worker.writer.enrol(
            "p", MODEL, [picture("p", face(1))], "test", idempotency_key
        ).pictures

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(once, [gallery, other_worker] * 8))
    assert len(set(answers)) == 1
    assert len(gallery.reader.person("p")[1]) == 1
    other_actor = gallery.writer.enrol(
        "p", MODEL, [picture("p", face(2))], "another", idempotency_key
    )
    assert not other_actor.replayed
    changed = idempotency_key._replace(fingerprint=fingerprint("p", b"other"))
    with pytest.raises(RequestError) as caught:
        gallery.writer.enrol("p", MODEL, [picture("p", face(1))], "test", changed)
    assert caught.value.code == "idempotency-key-used"
    gallery.writer.remove_person("p", "test")
    with pytest.raises(RequestError) as caught:
        once(gallery)
    assert "removed since" in caught.value.reason


def test_keys_are_forgotten_after_a_day(gallery: Gallery) -> None:
    idempotency_key = IdempotencyKey("key-1", fingerprint("p"))
    gallery.writer.enrol("p", MODEL, [picture("p", face(1))], "test", idempotency_key)
    with gallery.database.change() as change:
        old = change.at - KEY_LIFETIME - timedelta(minutes=1)
        change.connection.execute(update(requests).values(created=old))
    again = gallery.writer.enrol("p", MODEL, [picture("p", face(1))], "test", idempotency_key)
    assert not again.replayed


def test_a_change_that_fails_leaves_nothing(gallery: Gallery) -> None:
    enrol(gallery, "p", 1)
    before = gallery.reader.state()
    taken = picture("p", face(2))
    with pytest.raises(RequestError) as caught:
        gallery.writer.enrol("q", MODEL, [taken, taken], "test")
    assert caught.value.code == "gallery-unavailable"
    assert gallery.reader.state() == before
    enrol(gallery, "q", 3)
    assert gallery.reader.state()[1] == before[1] + 2


def test_another_models_embeddings_are_refused(gallery: Gallery) -> None:
    enrol(gallery, "p", 1)
    for ask in (
        lambda: gallery.writer.enrol("p", OTHER, [picture("p", face(2))], "test"),
        lambda: gallery.search(face(1), OTHER, "euclidean", 1),
    ):
        with pytest.raises(RequestError) as caught:
            ask()
        assert caught.value.code == "another-model"
    gallery.writer.remove_person("p", "test")
    gallery.writer.enrol("p", OTHER, [picture("p", face(2, 8))], "test")
    (found,) = gallery.search(face(2, 8), OTHER, "euclidean", 1)
    assert found.person == "p"
    with pytest.raises(RequestError):
        nearest(gallery, 1)


def test_unknown_people_and_pictures(gallery: Gallery) -> None:
    (name,) = enrol(gallery, "p", 1)
    enrol(gallery, "q", 2)
    for code, ask in (
        ("unknown-person", lambda: gallery.writer.remove_person("nobody", "test")),
        ("unknown-person", lambda: gallery.reader.person("P")),
        ("unknown-picture", lambda: gallery.writer.remove_picture("q", name, "test")),
        ("unknown-picture", lambda: gallery.writer.remove_picture("p", "0" * 32, "test")),
    ):
        with pytest.raises(RequestError) as caught:
            ask()
        assert caught.value.code == code
    assert gallery.reader.state()[2:] == (2, 2)


def test_the_log_says_who_did_what(gallery: Gallery) -> None:
    one, two = enrol(gallery, "p", 1, 2)
    gallery.writer.remove_picture("p", one, "bob")
    gallery.writer.remove_person("p", "carol")
    log = [
        (r.number, r.actor, r.action, r.person, r.picture) for r in gallery.reader.changes(0, 99)
    ]
    assert log == [
        (1, "test", "add person", "p", None),
        (2, "test", "enrol", "p", one),
        (3, "test", "enrol", "p", two),
        (4, "bob", "remove picture", "p", one),
        (5, "carol", "remove picture", "p", two),
        (6, "carol", "remove person", "p", None),
    ]
    with gallery.database.read() as connection:
        assert connection.scalar(select(gallery_table.c.head)) == 6
        assert connection.scalars(select(changes.c.removed)).all() == [None, None, None, 2, 3, None]


def fill(gallery: Gallery, people: int, each: int = 3) -> None:
    """People whose pictures lie close together, in one change."""
    new = [
        picture(f"{i}", face(i) + np.float32(0.1) * face(10_000 + each * i + j))
        for i in range(people)
        for j in range(each)
    ]
    with gallery.database.change() as change:
        writer_module.bind_model(change, MODEL)
        writer_module.add_pictures(change, new, MODEL, "test", "import")


def wait_until_approximate(gallery: Gallery) -> None:
    """Wait for an index that is built in another thread."""
    deadline = time.monotonic() + 60
    while gallery.search_kind()[0] == "exact" and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_large_gallery_is_searched_approximately(
    gallery: Gallery, open_gallery: OpenGallery
) -> None:
    fill(gallery, 700)
    large = open_gallery(exact=1000)
    large.load(MODEL, "euclidean")
    wait_until_approximate(large)
    kind, recall = large.search_kind()
    assert kind == "approximate"
    assert recall is not None
    assert recall >= 0.99
    found = [large.search(face(i), MODEL, "euclidean", 1)[0] for i in range(0, 700, 7)]
    expected = [nearest(gallery, i)[0] for i in range(0, 700, 7)]
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 99
    assert gallery.search_kind() == ("exact", None)
    gallery.writer.remove_person("7", "test")
    assert large.search(face(7), MODEL, "euclidean", 1)[0].person != "7"
    enrol(gallery, "new", 999_999)
    assert large.search(face(999_999), MODEL, "euclidean", 1)[0].person == "new"


def test_a_gallery_that_grows_is_searched_approximately_in_the_end(
    gallery: Gallery, open_gallery: OpenGallery
) -> None:
    large = open_gallery(exact=1000)
    enrol(gallery, "first", 123)
    large.load(MODEL, "euclidean")
    assert large.search_kind()[0] == "exact"
    fill(gallery, 700)
    assert large.search(face(123), MODEL, "euclidean", 1)[0].person == "first"
    wait_until_approximate(large)
    assert large.search_kind()[0] == "approximate"
    assert large.search(face(123), MODEL, "euclidean", 1)[0].person == "first"


def test_a_build_that_fails_leaves_no_thread_and_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = Gallery(str(tmp_path / "gallery.sqlite3"), exact=10)
    fill(gallery, 10)
    tried: list[str] = []

    class Broken(Gallery):
        def _build(self, model: str, metric: Metric) -> Index:
            tried.append(model)
            raise MemoryError(metric)

    worker = Broken(gallery.url, exact=10)

    def search() -> None:
        assert nearest(worker, 1)[0].person == "1"
        for thread in threading.enumerate():
            if thread.name == "vitrine-index":
                thread.join(timeout=10)
                assert not thread.is_alive(), "it waits instead of ending"

    search()
    search()
    assert (tried, caplog.text.count("could not be built")) == ([MODEL], 1)
    later = time.monotonic() + gallery_module.RETRY_SECONDS
    monkeypatch.setattr(gallery_module, "time", SimpleNamespace(monotonic=lambda: later))
    search()
    assert tried == [MODEL, MODEL]
    for each in (gallery, worker):
        each.database.close()


def test_a_database_that_does_not_answer_holds_up_no_other_request() -> None:
    opened_by: list[threading.Thread] = []

    class Away(Gallery):
        @property
        def database(self) -> Database:
            opened_by.append(threading.current_thread())
            raise RequestError("gallery-unavailable", "away")

    app = SimpleNamespace(state=SimpleNamespace(gallery=Away("away")))
    with pytest.raises(RequestError, match="away"):
        asyncio.run(gallery_model(Request({"type": "http", "app": app})))
    assert opened_by
    assert threading.current_thread() not in opened_by  # the event loop's


def test_a_cache_that_failed_is_made_anew(gallery: Gallery) -> None:
    enrol(gallery, "p", 1)
    nearest(gallery, 1)
    gallery.writer.enrol("q", MODEL, [picture("q", face(2, 5))], "test")  # of another length
    with pytest.raises(RequestError if gallery.pgvector else AssertionError):
        nearest(gallery, 1)
    gallery.writer.remove_person("q", "test")
    enrol(gallery, "r", 3)
    assert [n.person for n in nearest(gallery, 3, 5)] == ["r", "p"]
