"""The database behind the gallery, and its transaction for changes.

A *change* first locks the only row of the table `gallery`. Changes therefore run one after the
other, across all workers and servers, and are numbered in the order in which they are committed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from artifacts import VitrineError
from serving.database import Store
from serving.faces.tables import SCHEMA_VERSION, gallery, metadata


class Database(Store):
    """The gallery's tables.

    Args:
        url: see `Store`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, "gallery", "gallery-unavailable")

    @contextmanager
    def change(self) -> Iterator["Change"]:
        """Open a transaction that locks the gallery; leaving the context commits it to disk.

        Raises:
            RequestError: the database does not answer, or an earlier change took too long.
        """
        with self.write() as connection:
            change = Change(connection)
            yield change
            change.finish()

    def _create_tables(self, connection: Connection) -> None:
        metadata.create_all(connection)
        version = connection.scalar(select(gallery.c.version))
        if version is None:
            connection.execute(insert(gallery).values(id=1, version=SCHEMA_VERSION, head=0))
        if version not in {None, SCHEMA_VERSION}:
            raise VitrineError(
                f"the gallery in {self.url!r} has version {version}; this release reads version "
                f"{SCHEMA_VERSION}. Export it with the Vitrine release that wrote it, and import "
                "the file here."
            )


class Change:
    """A transaction that changes the gallery: it numbers each change and makes rows for the log.

    Attributes:
        connection: inside the transaction.
        at: when it began, UTC.
        head: number of the newest change.
        model: hash of the gallery's model; None if there is none yet.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
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

    def finish(self) -> None:
        """Store the newest number and the model."""
        self.connection.execute(update(gallery).values(head=self.head, model=self.model))
