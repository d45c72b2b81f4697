"""A database in SQLite or PostgreSQL, with a transaction for reading and one for writing.

Both kinds of database run the same statements. What is written is on disk before the transaction's
context is left.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, DateTime, Dialect, TypeDecorator, create_engine, event, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, SQLAlchemyError

from artifacts import VitrineError
from artifacts.distribution import install_command
from serving.problems import RequestError

WAIT_SECONDS = 30
"""Maximum time that a change waits for the one before, and that erasure waits for readers, in
seconds."""
TABLES_LOCK = 0x56495452494E45
"""Key of the PostgreSQL advisory lock that is held while tables are created."""
RESERVED_BYTES = 32 * 1024 * 1024
"""Size of the file beside an SQLite database that keeps space for erasing on a full disk. It has
room for the log of a transaction that erases the largest picture (`MAX_BODY_BYTES`)."""
PIECE_BYTES = 4_000_000
"""Bytes of pictures that are erased in one transaction on a full disk, unless one is larger."""
PIECE_ROWS = 200
"""Rows that are erased in one transaction on a full disk."""
DISK_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
"""What SQLite reports when the disk is full: of the database, its log, and its shared memory."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""Primary codes (the lowest eight bits) with which SQLite reports that a file is damaged."""
UNUSABLE = {
    sqlite3.SQLITE_READONLY: "cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened or created",
    **dict.fromkeys(DAMAGED, "is damaged"),
}
"""What is wrong with an SQLite file, by primary code, if trying again does not help."""
POSTGRESQL_REMAINS = (
    "PostgreSQL keeps deleted rows in its files until VACUUM FULL is run, and in its write-ahead "
    "log until that is recycled"
)
SQLITE_REMAINS = (
    "SQLite's write-ahead log still held it when this was answered; the next removal empties "
    "that log"
)

Result = TypeVar("Result")
Key = TypeVar("Key", int, str)

damage = threading.Event()
"""Set once SQLite has reported to this process that a file is damaged."""

log = logging.getLogger("vitrine.database")


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite does not store the time zone, so it is added when a value is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the value with its time zone."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


class StorageError(RequestError):
    """An SQLite file cannot be used, or not written to, until somebody mends that."""

    passes = False


class DiskFullError(StorageError):
    """The disk of an SQLite database is full."""


class Store:
    """A pool of connections to a database, whose tables are created if they are missing.

    A subclass says which tables these are, in `_create_tables`.

    Args:
        url: `postgresql://user:password@host/name`, `sqlite:///file`, or the path of a file.
        what: what is stored there, for messages.
        code: problem code for a database that does not answer.

    Raises:
        VitrineError: the kind of database is not supported, its driver is not installed, or its
            tables have another version.
        RequestError: the database does not answer.
    """

    def __init__(self, url: str, what: str, code: str) -> None:
        self.url = parse_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._what, self._code = what, code
        try:
            self._engine = _sqlite(self.url) if self.sqlite else _postgresql(self.url)
        except ModuleNotFoundError as error:
            raise VitrineError(
                f"PostgreSQL needs the package {error.name}, which is not installed; run "
                f"`{install_command('postgresql')}`."
            ) from None
        self._writes = self._engine.execution_options(immediate=True)
        self._snapshots = (
            self._engine
            if self.sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._reserve = _reserve_of(self.url) if self.sqlite else None
        with self.write() as connection:
            if not self.sqlite:  # two workers may start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": TABLES_LOCK})
            self._create_tables(connection)
        self.erase_traces()
        self._keep_reserve()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot of the database and takes no lock.

        Raises:
            RequestError: the database does not answer.
        """
        with self._translated_errors(), self._snapshots.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that changes the database; leaving the context commits it to disk.

        Raises:
            RequestError: the database does not answer, or an earlier change took too long.
        """
        with self._translated_errors(), self._writes.begin() as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Open a connection of its own on which each statement is a transaction.

        What is set or locked on it ends with it.

        Raises:
            RequestError: the database does not answer.
        """
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._translated_errors(), engine.connect() as connection:
            connection.detach()
            yield connection

    def erase_traces(self) -> bool:
        """Empty SQLite's write-ahead log, which still contains pages that have been overwritten.

        Returns:
            Whether no byte of what was deleted is left in the database's files. False on
            PostgreSQL, and if a reader kept the log in use for `WAIT_SECONDS`.
        """
        return self.sqlite and self.run_erasure(self._empty_log)

    def run_erasure(
        self, work: Callable[[], Result], pieces: Callable[[], None] | None = None
    ) -> Result:
        """Do work that erases something, on a full disk with the space that is reserved for it.

        SQLite writes to its log what a transaction overwrites, before it is overwritten in place.

        Args:
            work: erases everything in one transaction; if the disk is full, it is done again.
            pieces: is called before that, to erase most of it in transactions that need less than
                `PIECE_BYTES` each, and to empty the log after each; None if all of it needs less.

        Raises:
            RequestError: the database does not answer, or the reserved space is not enough, too.
        """
        try:
            return work()
        except DiskFullError:
            if self._reserve is None or not self._reserve.exists():
                raise
        self._reserve.unlink(missing_ok=True)
        try:
            if pieces is not None:
                pieces()
            return work()
        finally:
            self._keep_reserve()

    def _keep_reserve(self) -> None:
        """Reserve space for erasure on a full disk, if there is enough of it."""
        if self._reserve is None:
            return
        try:
            with self._reserve.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            log.warning(
                "no space can be reserved beside %s (%s): on a full disk nothing could be erased",
                self.url.database,
                error.strerror,
            )

    def _empty_log(self) -> bool:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            with self._translated_errors(), self._engine.connect() as connection:
                raw = connection.connection.cursor()
                busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return True
            time.sleep(0.05)
        return False

    @property
    def remains(self) -> str:
        """What is left of deleted rows if `erase_traces` could not erase all of it."""
        return SQLITE_REMAINS if self.sqlite else POSTGRESQL_REMAINS

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _create_tables(self, connection: Connection) -> None:
        """Create the tables that are missing, or refuse those of another version.

        Raises:
            VitrineError: the tables have another version.
        """
        raise NotImplementedError

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        # SQLAlchemy passes on what drivers raise while they convert values, or on raw connections.
        driver = self._engine.dialect.loaded_dbapi
        try:
            yield
        except (DataError, driver.DataError, OverflowError, UnicodeError) as error:
            raise RequestError(
                "bad-parameter",
                f"the {self._what}'s database cannot hold a value of the request: a number of more "
                "than 64 bits, a zero character, or text that is not valid Unicode; send another.",
            ) from error
        except (SQLAlchemyError, driver.Error) as error:
            # The driver's message may name host and user, which clients must not see.
            reason = getattr(error, "orig", error)
            if getattr(reason, "sqlite_errorcode", None) in DISK_FULL:
                log.error("the disk of the %s's database is full", self._what)  # noqa: TRY400
                raise DiskFullError(
                    self._code,
                    f"the disk of the {self._what}'s database is full: what is there can be read "
                    "and erased, but nothing can be added. Free some space, and try again.",
                ) from error
            log.error("the %s's database failed: %s", self._what, reason)  # noqa: TRY400
            code = getattr(reason, "sqlite_errorcode", 0) & 0xFF
            if code in DAMAGED:
                damage.set()
            if code in UNUSABLE:
                raise StorageError(
                    self._code,
                    f"the file of the {self._what}'s database {UNUSABLE[code]}; the server's log "
                    "has the reason, and docs/operations.md says how to mend it.",
                ) from error
            raise RequestError(
                self._code,
                f"the {self._what}'s database failed; the server's log has the reason. Try again.",
            ) from error


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


def pieces_of(sizes: Iterable[tuple[Key, int]]) -> Iterator[list[Key]]:
    """Divide rows into pieces that are erased in one transaction each on a full disk.

    Args:
        sizes: the key of each row, and the bytes of its picture.
    """
    piece: list[Key] = []
    total = 0
    for key, size in sizes:
        if piece and (total + size > PIECE_BYTES or len(piece) == PIECE_ROWS):
            yield piece
            piece, total = [], 0
        piece.append(key)
        total += size
    if piece:
        yield piece


def _reserve_of(url: URL) -> Path | None:
    """Return the path of the file that reserves space; None if the database is in no file."""
    if not url.database or url.database == ":memory:":
        return None
    path = Path(url.database)
    return path.with_name(f".{path.name}.reserve")


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
