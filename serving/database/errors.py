"""What the failures of a database are to a request."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DataError, SQLAlchemyError

from serving.problems import RequestError

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

damage = threading.Event()
"""Set once SQLite has reported to this process that a file is damaged."""

log = logging.getLogger("vitrine.database")


class StorageError(RequestError):
    """An SQLite file cannot be used, or not written to, until somebody mends that."""

    passes = False


class DiskFullError(StorageError):
    """The disk of an SQLite database is full."""


@contextmanager
def translated_errors(driver: Any, what: str, code: str) -> Iterator[None]:
    """Turn errors of a database into those of requests.

    Args:
        driver: the module with which the database is asked. SQLAlchemy passes on what it raises
            while it converts values, or on raw connections.
        what: what is stored there, for messages.
        code: problem code for a database that does not answer.

    Raises:
        RequestError: in place of the error; a `StorageError` if trying again does not help.
    """
    try:
        yield
    except (DataError, driver.DataError, OverflowError, UnicodeError) as error:
        raise RequestError(
            "bad-parameter",
            f"the {what}'s database cannot hold a value of the request: a number of more "
            "than 64 bits, a zero character, or text that is not valid Unicode; send another.",
        ) from error
    except (SQLAlchemyError, driver.Error) as error:
        # The driver's message may name host and user, which clients must not see.
        reason = getattr(error, "orig", error)
        if getattr(reason, "sqlite_errorcode", None) in DISK_FULL:
            log.error("the disk of the %s's database is full", what)  # noqa: TRY400
            raise DiskFullError(
                code,
                f"the disk of the {what}'s database is full: what is there can be read "
                "and erased, but nothing can be added. Free some space, and try again.",
            ) from error
        log.error("the %s's database failed: %s", what, reason)  # noqa: TRY400
        primary = getattr(reason, "sqlite_errorcode", 0) & 0xFF
        if primary in DAMAGED:
            damage.set()
        if primary in UNUSABLE:
            raise StorageError(
                code,
                f"the file of the {what}'s database {UNUSABLE[primary]}; the server's log "
                "has the reason, and docs/operations.md says how to mend it.",
            ) from error
        raise RequestError(
            code,
            f"the {what}'s database failed; the server's log has the reason. Try again.",
        ) from error
