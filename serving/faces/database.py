"""The database behind the gallery, and the two ways to touch it.

SQLite and PostgreSQL run the same statements. A *read* sees one snapshot. A *change* begins by
taking the lock on the gallery's one row, so changes happen one after the other, across workers and
servers, and their numbers are in the order in which they were committed.
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
from serving.faces.tables import VERSION, gallery, metadata
from serving.problems import RequestError

WAIT_SECONDS = 30
"""How long a change waits for the one before it, and erasure for readers to finish."""
PREPARE = 0x56495452494E45
"""Name of the PostgreSQL advisory lock under which tables are made."""

log = logging.getLogger("vitrine.gallery")


class Database:
    """One connection pool; tables are made where there are none.

    Args:
        url: `postgresql://user:password@host/name`, `sqlite:///file`, or the path of a file.

    Raises:
        VitrineError: no such kind of database, its driver is missing, or its tables are of
            another version.
        RequestError: the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        try:
            self._engine = _sqlite(self.url) if self.sqlite else _postgresql(self.url)
        except ModuleNotFoundError as error:
            raise VitrineError(
                f"PostgreSQL needs {error.name}; install it: pip install 'vitrine[postgresql]'."
            ) from None
        self._changes = self._engine.execution_options(immediate=True)
        self._snapshots = (
            self._engine
            if self.sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        with self._refusals():
            self._prepare()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees the database as it is now, and takes no lock.

        Raises:
            RequestError: the database does not answer.
        """
        with self._refusals(), self._snapshots.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def change(self) -> Iterator["Change"]:
        """A transaction that has the gallery to itself; committed to disk when it is left.

        Raises:
            RequestError: the database does not answer, or the change before it took too long.
        """
        with self._refusals(), self._changes.begin() as connection:
            change = Change(connection)
            yield change
            change.finish()

    def erase_traces(self) -> bool:
        """Empty SQLite's write-ahead log, in which pages live on that were overwritten since.

        Returns:
            Whether no byte of what was deleted is left in the database's files. False on
            PostgreSQL, and where a reader was in the way for `WAIT_SECONDS`.
        """
        if not self.sqlite:
            return False
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            with self._refusals(), self._engine.connect() as connection:
                raw = connection.connection.cursor()
                busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """End all connections."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self._changes.begin() as connection:
            if not self.sqlite:  # two workers may start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": PREPARE})
            metadata.create_all(connection)
            version = connection.scalar(select(gallery.c.version))
            if version is None:
                connection.execute(insert(gallery).values(id=1, version=VERSION, head=0))
        if version not in {None, VERSION}:
            raise VitrineError(
                f"the gallery in {self.url!r} is of version {version}; this code reads {VERSION}. "
                "Export it with the Vitrine release that wrote it, and import it here."
            )
        self.erase_traces()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, SQLAlchemyError) as error:
            # what the driver says may name host and user, which are no client's business
            reason = getattr(error, "orig", error)
            log.error("the gallery's database failed: %s", reason)  # noqa: TRY400 - it says it all
            raise RequestError(
                "gallery-unavailable",
                "the gallery's database failed; the server's log says how. Try again.",
            ) from error


class Change:
    """The changing transaction: hands out numbers, and notes who did what."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.at = datetime.now(UTC)
        lock = (
            update(gallery).values(head=gallery.c.head).returning(gallery.c.head, gallery.c.model)
        )
        self.head, self.model = connection.execute(lock).one()

    def number(self) -> int:
        """The next number."""
        self.head += 1
        return int(self.head)

    def note(self, number: int, actor: str, action: str, **about: Any) -> dict[str, Any]:
        """Row of the change log with that number."""
        blank = {"person": None, "picture": None, "removed": None}
        about = {**blank, **about}
        return {"number": number, "at": self.at, "actor": actor, "action": action, **about}

    def finish(self) -> None:
        """Write down the newest number and the model."""
        self.connection.execute(update(gallery).values(head=self.head, model=self.model))


def parse_url(given: str) -> URL:
    """A database's URL, from a URL or the path of an SQLite file.

    Raises:
        VitrineError: it is neither, or of another kind of database.
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
        raw.isolation_level = None  # the driver begins no transaction of its own
        raw.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
        _patiently(lambda: raw.execute("PRAGMA journal_mode = WAL"))
        raw.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it is acknowledged
        raw.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten with zeros
        raw.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _patiently(switch: Callable[[], object]) -> None:
    """Switch a new file to WAL although another worker does so now: SQLite does not wait there."""
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
