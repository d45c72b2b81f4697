"""The database behind the gallery, with a transaction for reading and one for changes.

SQLite and PostgreSQL run the same statements. A *read* sees one snapshot. A *change* first locks
the only row of the table `gallery`. Changes therefore run one after the other, across all workers
and servers, and are numbered in the order in which they are committed.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, insert, select, text, update
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from artifacts import VitrineError
from artifacts.distribution import install_command
from serving.faces.tables import SCHEMA_VERSION, gallery, metadata
from serving.problems import RequestError

WAIT_SECONDS = 30
"""Maximum time that SQLite waits for the change before, and that erasure waits for readers, in
seconds."""
TABLES_LOCK = 0x56495452494E45
"""Key of the PostgreSQL advisory lock that is held while tables are created."""

log = logging.getLogger("vitrine.gallery")


class Database:
    """A pool of connections to the gallery's database; its tables are created if they are missing.

    Args:
        url: `postgresql://user:password@host/name`, `sqlite:///file`, or the path of a file.

    Raises:
        VitrineError: the kind of database is not supported, its driver is not installed, or its
            tables have another version.
        RequestError: the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        try:
            self._engine = _sqlite(self.url) if self.sqlite else _postgresql(self.url)
        except ModuleNotFoundError as error:
            raise VitrineError(
                f"PostgreSQL needs the package {error.name}, which is not installed; run "
                f"`{install_command('postgresql')}`."
            ) from None
        self._changes = self._engine.execution_options(immediate=True)
        self._snapshots = (
            self._engine
            if self.sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        with self._translated_errors():
            self._create_tables()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot of the database and takes no lock.

        Raises:
            RequestError: the database does not answer.
        """
        with self._translated_errors(), self._snapshots.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def change(self) -> Iterator["Change"]:
        """Open a transaction that locks the gallery; leaving the context commits it to disk.

        Raises:
            RequestError: the database does not answer, or an earlier change took too long.
        """
        with self._translated_errors(), self._changes.begin() as connection:
            change = Change(connection)
            yield change
            change.finish()

    def erase_traces(self) -> bool:
        """Empty SQLite's write-ahead log, which still contains pages that have been overwritten.

        Returns:
            Whether no byte of what was deleted is left in the database's files. False on
            PostgreSQL, and if a reader kept the log in use for `WAIT_SECONDS`.
        """
        if not self.sqlite:
            return False
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            with self._translated_errors(), self._engine.connect() as connection:
                raw = connection.connection.cursor()
                busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _create_tables(self) -> None:
        with self._changes.begin() as connection:
            if not self.sqlite:  # two workers may start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": TABLES_LOCK})
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
        self.erase_traces()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, SQLAlchemyError) as error:
            # The driver's message may name host and user, which clients must not see.
            reason = getattr(error, "orig", error)
            log.error("the gallery's database failed: %s", reason)  # noqa: TRY400 - it says it all
            raise RequestError(
                "gallery-unavailable",
                "the gallery's database failed; the server's log has the reason. Try again.",
            ) from error


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


def parse_url(given: str) -> URL:
    """Return the URL of a database, given as a URL or as the path of an SQLite file.

    Raises:
        VitrineError: it is neither, or is of another kind of database.
    """
    if "://" not in given:
        return URL.create("sqlite", database=given)
    try:
        url = make_url(given)
    except ArgumentError:
        url = None
    kind = url.get_backend_name() if url is not None else ""
    if url is None or kind.split("+")[0] not in {"sqlite", "postgresql", "postgres"}:
        raise VitrineError(
            "VITRINE_DATABASE is neither postgresql://user:password@host/name nor the path of an "
            "SQLite file."
        )
    return url if kind == "sqlite" else url.set(drivername="postgresql+psycopg")


def _postgresql(url: URL) -> Engine:
    return create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=32)


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def settings(raw: Any, _: Any) -> None:
        raw.isolation_level = None  # keeps the driver from beginning transactions of its own
        raw.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
        _retry_while_locked(lambda: raw.execute("PRAGMA journal_mode = WAL"))
        raw.execute("PRAGMA synchronous = FULL")  # a commit is on disk before it is acknowledged
        raw.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten with zeros
        raw.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _retry_while_locked(switch: Callable[[], object]) -> None:
    """Switch a new file to WAL while another worker may be doing the same.

    SQLite does not apply its busy timeout to this statement.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            switch()
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
