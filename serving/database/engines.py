"""Opens SQLite and PostgreSQL so that both behave alike."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, TypeDecorator, create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from artifacts import VitrineError
from serving.database.errors import DAMAGED

WAIT_SECONDS = 30
"""Maximum time that a change waits for the one before, and that erasure waits for readers, in
seconds."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite does not store the time zone, so it is added when a value is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the value with its time zone."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


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


def check_file(database: str) -> None:
    """Check that the file of an SQLite database is one, before a server starts.

    Other failures may pass: a server starts all the same, and tries again.

    Args:
        database: as `VITRINE_DATABASE`.

    Raises:
        VitrineError: the file is damaged, or no database.
    """
    path = Path(database.removeprefix("sqlite:///"))
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(path, timeout=1)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in DAMAGED:
            raise VitrineError(
                f"the database {path} is damaged ({error}); restore it from a backup, save what "
                f"can be read with `sqlite3 {path} .recover`, or move it away to begin with an "
                "empty one."
            ) from None


def open_engine(url: URL) -> Engine:
    """Return a pool of connections, none of which is open yet.

    Raises:
        ModuleNotFoundError: the driver of PostgreSQL is not installed.
    """
    return _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)


def _postgresql(url: URL) -> Engine:
    given = url.query.get("options", "")
    before = given if isinstance(given, str) else " ".join(given)
    options = f"{before} -c lock_timeout={WAIT_SECONDS}s"
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=32,
        connect_args={"options": options.strip()},
    )


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
        raw.execute("PRAGMA temp_store = MEMORY")  # needs no disk, which may be full

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
