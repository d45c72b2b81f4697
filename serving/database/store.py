"""A database in SQLite or PostgreSQL, with a transaction for reading and one for writing.

Both kinds of database run the same statements. What is written is on disk before the transaction's
context is left.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from sqlalchemy import Connection, text

from artifacts import VitrineError
from artifacts.distribution import install_command
from serving.database.engines import WAIT_SECONDS, open_engine, parse_url
from serving.database.erasure import reserve_beside
from serving.database.errors import DiskFullError, translated_errors

TABLES_LOCK = 0x56495452494E45
"""Key of the PostgreSQL advisory lock that is held while tables are created."""
POSTGRESQL_REMAINS = (
    "PostgreSQL keeps deleted rows in its files until VACUUM FULL is run, and in its write-ahead "
    "log until that is recycled"
)
SQLITE_REMAINS = (
    "SQLite's write-ahead log still held it when this was answered; the next removal empties "
    "that log"
)

Result = TypeVar("Result")


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
            self._engine = open_engine(self.url)
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
        self._reserve = reserve_beside(self.url) if self.sqlite else None
        with self.write() as connection:
            if not self.sqlite:  # two workers may start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": TABLES_LOCK})
            self._create_tables(connection)
        self.erase_traces()
        if self._reserve is not None:
            self._reserve.keep()

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

        Args:
            work: erases everything in one transaction; if the disk is full, it is done again.
            pieces: is called before that, to erase most of it in transactions that need less than
                `PIECE_BYTES` each, and to empty the log after each; None if all of it needs less.

        Raises:
            RequestError: the database does not answer, or the reserved space is not enough, too.
        """
        reserve = self._reserve
        try:
            return work()
        except DiskFullError:
            if reserve is None or not reserve.release():
                raise
        try:
            if pieces is not None:
                pieces()
            return work()
        finally:
            reserve.keep()

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

    def _translated_errors(self) -> AbstractContextManager[None]:
        driver = self._engine.dialect.loaded_dbapi
        return translated_errors(driver, self._what, self._code)
