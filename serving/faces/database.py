"""The database behind the gallery, and its transaction for changes.

A *change* first locks the only row of the table `gallery`. Changes therefore run one after the
other, across all workers and servers, and are numbered in the order in which they are committed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from artifacts import VitrineError
from serving.database.store import Store
from serving.faces import pgvector as pgvector_column
from serving.faces.names import check_person
from serving.faces.tables import (
    SCHEMA_VERSION,
    changes,
    embeddings,
    gallery,
    metadata,
    people,
    pictures,
    requests,
)
from serving.problems import RequestError

ACTOR = "vitrine"
"""Name of the caller, in the change log, of changes that a new release makes."""

log = logging.getLogger("vitrine.database")


class Database(Store):
    """The gallery's tables.

    Args:
        url: see `Store`.
        pgvector: whether embeddings are also stored as pgvector searches them.

    Raises:
        VitrineError: see `Store`; or the database has no pgvector.
        RequestError: the database does not answer.
    """

    def __init__(self, url: str, *, pgvector: bool = False) -> None:
        self.pgvector = pgvector
        super().__init__(url, "gallery", "gallery-unavailable")

    @contextmanager
    def change(self) -> Iterator["Change"]:
        """Open a transaction that locks the gallery; leaving the context commits it to disk.

        Raises:
            RequestError: the database does not answer, or an earlier change took too long.
        """
        with self.write() as connection:
            change = Change(connection, pgvector=self.pgvector)
            yield change
            change.finish()

    def _create_tables(self, connection: Connection) -> None:
        metadata.create_all(connection)
        version = connection.scalar(select(gallery.c.version))
        if version is None:
            connection.execute(insert(gallery).values(id=1, version=SCHEMA_VERSION, head=0))
        if version == 1:
            unify_ids(Change(connection))
            connection.execute(update(gallery).values(version=SCHEMA_VERSION))
        elif version not in {None, SCHEMA_VERSION}:
            raise VitrineError(
                f"the gallery in {self.url!r} has version {version}; this release reads version "
                f"{SCHEMA_VERSION}. Export it with the Vitrine release that wrote it, and import "
                "the file here."
            )
        if self.pgvector:
            pgvector_column.prepare(connection)


class Change:
    """A transaction that changes the gallery: it numbers each change and makes rows for the log.

    Attributes:
        connection: inside the transaction.
        pgvector: see `Database`.
        at: when it began, UTC.
        head: number of the newest change.
        model: hash of the gallery's model; None if there is none yet.
    """

    def __init__(self, connection: Connection, *, pgvector: bool = False) -> None:
        self.connection = connection
        self.pgvector = pgvector
        self.at = datetime.now(UTC)
        lock = (
            update(gallery).values(head=gallery.c.head).returning(gallery.c.head, gallery.c.model)
        )
        self.head, self.model = connection.execute(lock).one()

    def next_number(self) -> int:
        """Return the number of the next change."""
        self.head += 1
        return int(self.head)

    def log_row(self, number: int, actor: str, action: str, **about: Any) -> dict[str, Any]:
        """Return the row of the change log with that number."""
        blank = {"person": None, "picture": None, "removed": None}
        about = {**blank, **about}
        return {"number": number, "at": self.at, "actor": actor, "action": action, **about}

    def add_embeddings(self, rows: list[dict[str, Any]]) -> None:
        """Insert at least one row of the table `embeddings`."""
        if self.pgvector:
            pgvector_column.insert(self.connection, rows)
        else:
            self.connection.execute(insert(embeddings), rows)

    def finish(self) -> None:
        """Store the newest number and the model."""
        self.connection.execute(update(gallery).values(head=self.head, model=self.model))


def check_pgvector(url: str) -> None:
    """Check that a database can search embeddings, and have it prepared for that.

    A database that does not answer passes: a server starts all the same, and tries again.

    Args:
        url: as `VITRINE_DATABASE`.

    Raises:
        VitrineError: it cannot, and why.
    """
    with suppress(RequestError):
        Database(url, pgvector=True).close()


def unify_ids(change: Change) -> None:
    """Bring the ids of all people into the form of `check_person`.

    People whose ids then are the same become one: the pictures go to the one enrolled first, whose
    entry stays. An id of which nothing is left, or too much, becomes `unnamed-NUMBER`.

    Args:
        change: the open transaction.
    """
    connection = change.connection
    rows = connection.execute(select(people.c.number, people.c.name).order_by(people.c.number))
    by_id: dict[str, list[Any]] = {}
    unnamed = []
    for row in rows:
        try:
            by_id.setdefault(check_person(row.name), []).append(row)
        except RequestError:
            unnamed.append(row)
    for row in unnamed:
        name = f"unnamed-{row.number}"
        while name in by_id:
            name += "-"
        by_id[name] = [row]
    changed = 0
    for name, (first, *others) in by_id.items():
        if not others and first.name == name:
            continue
        _merge(connection, first.number, [other.number for other in others], name)
        action = "merge people" if others else "rename person"
        note = change.log_row(change.next_number(), ACTOR, action, person=name)
        connection.execute(insert(changes), note)
        changed += 1
    change.finish()
    if changed:
        log.warning(
            "%d ids of people were brought into one form of Unicode; the change log of the gallery "
            "lists them under 'rename person' and 'merge people'",
            changed,
        )


def _merge(connection: Connection, number: int, others: list[int], name: str) -> None:
    """Give a person the pictures of others, remove the others, and rename the person."""
    for other in others:
        for table in (pictures, requests):
            moved = update(table).where(table.c.person == other)
            connection.execute(moved.values(person=number))
        connection.execute(delete(people).where(people.c.number == other))
    connection.execute(update(people).where(people.c.number == number).values(name=name))
