"""Ids of people: what looks alike is one, also in galleries of earlier releases."""

import unicodedata
from pathlib import Path

import pytest
from sqlalchemy import select, update

from serving.client import Client
from serving.database import engines
from serving.faces.database import ACTOR, Database
from serving.faces.gallery import Gallery
from serving.faces.names import MAX_CHARACTERS, check_person
from serving.faces.tables import SCHEMA_VERSION
from serving.faces.tables import gallery as gallery_table
from serving.faces.writer import add_pictures
from serving.problems import RequestError
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.faces.test_gallery import MODEL, face, nearest, picture

COMPOSED = "José"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
ALIKE = (
    COMPOSED,
    DECOMPOSED,
    f" {COMPOSED}\u3000",
    "Jo\u200bs\u00ade\u2060\u0301",
    f"\ufeff{COMPOSED}\u200e",
)
ODD = (*ALIKE, "\u200b", " ", "ada", "ada\u00a0", "unnamed-13", "\ufb2c" * MAX_CHARACTERS)


@pytest.mark.parametrize("given", ALIKE)
def test_what_looks_alike_is_one_id(given: str) -> None:
    assert check_person(given) == COMPOSED
    assert check_person(check_person(given)) == COMPOSED


def test_what_differs_stays_different() -> None:
    for name in ("Jose", "josé", "José 2", "J\u00f3se", "山田", "\u0627\u0644", "a  b"):
        assert check_person(name) == name


@pytest.mark.parametrize(
    "given", ["", "\u200b", " \u2003", "a\0", "a/b", "\ud800", "a" * 201, "e\u0301" * 10_000]
)
def test_ids_that_are_refused(given: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_person(given)
    assert caught.value.code == "bad-person"


def test_all_spellings_name_one_person(face_models: Path, tmp_path: Path) -> None:
    content = encoded(photograph(64, 64))
    with running_server(face_models, tmp_path / "log") as address, Client(address) as client:
        for name in ALIKE:
            assert client.enrol(name, [content], aligned=True).person == COMPOSED
        assert [person.person for person in client.people()] == [COMPOSED]
        for name in ALIKE:
            assert len(client.person(name).pictures) == len(ALIKE)
        assert client.remove_person(DECOMPOSED).embeddings == len(ALIKE)


def as_of_version_1(url: str, names: tuple[str, ...]) -> None:
    """Fill a gallery as the first release did: ids are stored as they were sent."""
    store = Database(url)
    with store.change() as change:
        change.model = MODEL
        for seed, name in enumerate(names):
            add_pictures(change, [picture(name, face(seed))], MODEL, "test", "enrol")
        change.connection.execute(update(gallery_table).values(version=1))
    store.close()


def test_a_gallery_of_version_1_is_brought_up_to_date(database_url: str) -> None:
    as_of_version_1(database_url, ODD)
    gallery = Gallery(database_url)
    with gallery.database.read() as connection:
        assert connection.scalar(select(gallery_table.c.version)) == SCHEMA_VERSION
    counts = {row.name: row.pictures for row in gallery.reader.people(0, 100)}
    nothing, space, too_long = (
        f"unnamed-{2 * (ODD.index(name)) + 1}" for name in ("\u200b", " ", ODD[-1])
    )
    assert nothing == "unnamed-11"
    expected = {COMPOSED: len(ALIKE), "ada": 2, nothing: 1, too_long: 1}
    expected |= {"unnamed-13": 1, f"{space}-": 1}  # which somebody else is called
    assert space == "unnamed-13"
    assert counts == expected
    for seed in range(len(ALIKE)):
        assert nearest(gallery, seed)[0].person == COMPOSED
    done = [row for row in gallery.reader.changes(0, 1000) if row.actor == ACTOR]
    assert {(row.action, row.person) for row in done} == {
        ("merge people", COMPOSED),
        ("merge people", "ada"),
        *(("rename person", name) for name in (nothing, f"{space}-", too_long)),
    }
    head = gallery.reader.state()[1]
    gallery.database.close()
    again = Gallery(database_url)
    assert again.reader.state()[1] == head
    assert again.writer.remove_person(COMPOSED, "test").embeddings == len(ALIKE)
    again.database.close()


def test_a_change_does_not_wait_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example for one whose server has lost its network, but not its connection."""
    monkeypatch.setattr(engines, "WAIT_SECONDS", 1)
    stores = [Database(database_url), Database(database_url)]
    with stores[0].change(), pytest.raises(RequestError) as caught, stores[1].change():
        pass
    assert (caught.value.code, caught.value.status) == ("gallery-unavailable", 503)
    for store in stores:
        store.close()


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400])
def test_numbers_that_no_database_holds_are_bad_parameters(database_url: str, value: int) -> None:
    gallery = Gallery(database_url)
    with pytest.raises(RequestError) as caught:
        gallery.reader.people(value, 10)
    assert caught.value.code == "bad-parameter"
    gallery.database.close()


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_text_that_no_database_holds_is_a_bad_parameter(database_url: str, name: str) -> None:
    gallery = Gallery(database_url)
    with pytest.raises(RequestError) as caught:
        gallery.reader.person(name)
    assert caught.value.code in {"bad-parameter", "unknown-person"}
    gallery.database.close()


def test_what_a_driver_raises_by_itself_is_no_failure_of_the_server(
    database_url: str,
) -> None:
    store = Database(database_url)
    driver = store._engine.dialect.loaded_dbapi
    for error in (driver.OperationalError("gone"), driver.InterfaceError("gone")):
        with pytest.raises(RequestError) as caught, store.read():
            raise error
        assert caught.value.code == "gallery-unavailable"
    store.close()
