"""What is removed is in no file of the store any more."""

import random
import threading
from pathlib import Path

import numpy as np
import pytest

from serving.client import Client
from serving.faces.gallery import Gallery
from serving.problems import RequestError
from tests.databases import new_database
from tests.pictures import encoded, photograph
from tests.server import start_server
from tests.serving.faces.test_gallery import enrol, face


def bytes_of(store: Path) -> bytes:
    """Everything in the files of an SQLite database, its logs included."""
    files = sorted(store.parent.glob(f"{store.name}*"))
    assert store in files
    return b"".join(file.read_bytes() for file in files)


def is_in(needle: bytes, haystack: bytes) -> bool:
    """Whether 16 bytes in a row, from any of many places, are there."""
    return any(needle[i : i + 16] in haystack for i in range(0, len(needle) - 15, 16))


def portrait(seed: int) -> bytes:
    """A BMP without its header, which all of one size share, is the pixels alone."""
    return encoded(photograph(64, 64, seed), "BMP")


def pixels(content: bytes) -> bytes:
    return content[64:]


def test_no_byte_of_a_removed_person_is_left(face_models: Path, tmp_path: Path) -> None:
    store = tmp_path / "gallery.sqlite3"
    pictures = {f"p{i}": portrait(i) for i in range(40)}
    server = start_server(
        face_models, tmp_path / "log", VITRINE_DATABASE=str(store), VITRINE_KEEP_PICTURES="1"
    )
    try:
        with Client(server.address) as client:
            vectors = {}
            for person, content in pictures.items():
                client.enrol(person, [content], aligned=True)
                row = client.embed([content], aligned=True).embeddings[0]
                vectors[person] = np.array(row, "<f4").tobytes()
            before = bytes_of(store)
            assert all(
                is_in(vectors[p], before) and is_in(pixels(pictures[p]), before) for p in pictures
            )
            order = list(pictures)
            random.Random(0).shuffle(order)
            with pytest.raises(RequestError):
                client.remove_picture(order[0], "..")  # no picture, and not the person either
            for count, person in enumerate(order[:30], 1):
                if count % 2:
                    receipt = client.remove_person(person)
                else:
                    (only,) = client.person(person).pictures
                    receipt = client.remove_picture(person, only.id)
                assert receipt.erased
                counts = (len(receipt.pictures), receipt.embeddings, receipt.kept_pictures)
                assert counts == (1, 1, 1)
                left = bytes_of(store)
                assert not is_in(vectors[person], left)
                assert not is_in(pixels(pictures[person]), left)
            assert all(
                is_in(vectors[p], left) and is_in(pixels(pictures[p]), left) for p in order[30:]
            )
            if (store.parent / f"{store.name}-wal").exists():
                assert (store.parent / f"{store.name}-wal").stat().st_size == 0
    finally:
        server.stop()


def test_what_a_killed_removal_left_in_the_log_is_erased_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "gallery.sqlite3"
    gallery = Gallery(str(store))
    enrol(gallery, "p", 1)
    monkeypatch.setattr(gallery.database, "erase_traces", lambda: False)  # as if killed here
    receipt = gallery.writer.remove_person("p", "test")
    assert not receipt.traces_erased
    assert is_in(face(1).tobytes(), bytes_of(store))
    again = Gallery(str(store))
    assert again.reader.state()[3] == 0
    assert not is_in(face(1).tobytes(), bytes_of(store))
    for each in (gallery, again):
        each.database.close()


def test_a_reader_delays_erasure_but_does_not_prevent_it(tmp_path: Path) -> None:
    store = tmp_path / "gallery.sqlite3"
    gallery = Gallery(str(store))
    enrol(gallery, "p", 1)
    reading, read = threading.Event(), threading.Event()

    def look() -> None:
        with gallery.database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM embeddings").scalar()
            reading.set()
            read.wait(20)

    reader = threading.Thread(target=look)
    reader.start()
    reading.wait(20)
    threading.Timer(0.5, read.set).start()
    assert gallery.writer.remove_person("p", "test").traces_erased
    assert not is_in(face(1).tobytes(), bytes_of(store))
    reader.join()
    gallery.database.close()


def test_a_receipt_says_what_postgresql_keeps(
    face_models: Path, postgresql: str, tmp_path: Path
) -> None:
    url = new_database(postgresql, "erasure")
    server = start_server(face_models, tmp_path / "log", VITRINE_DATABASE=url)
    try:
        with Client(server.address) as client:
            client.enrol("p", [portrait(0)] * 2, aligned=True)
            receipt = client.remove_person("p")
    finally:
        server.stop()
    assert not receipt.erased
    assert (len(receipt.pictures), receipt.embeddings, receipt.answers) == (2, 2, 1)
    assert any("VACUUM FULL" in line for line in receipt.remains)
