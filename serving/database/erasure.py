"""What erasing from an SQLite database on a full disk needs: reserved space, and small pieces.

SQLite writes to its log what a transaction overwrites, before it is overwritten in place.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import URL

RESERVED_BYTES = 32 * 1024 * 1024
"""Size of the file beside an SQLite database that keeps space for erasing on a full disk. It has
room for the log of a transaction that erases the largest picture (`MAX_BODY_BYTES`)."""
PIECE_BYTES = 4_000_000
"""Bytes of pictures that are erased in one transaction on a full disk, unless one is larger."""
PIECE_ROWS = 200
"""Rows that are erased in one transaction on a full disk."""

Key = TypeVar("Key", int, str)

log = logging.getLogger("vitrine.database")


class Reserve:
    """A file beside a database that keeps space for erasing.

    Args:
        database: path of the database.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f".{database.name}.reserve")

    def keep(self) -> None:
        """Reserve the space, if there is enough of it."""
        try:
            with self._path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            log.warning(
                "no space can be reserved beside %s (%s): on a full disk nothing could be erased",
                self._database,
                error.strerror,
            )

    def release(self) -> bool:
        """Free the space; returns whether any was reserved."""
        if not self._path.exists():
            return False
        self._path.unlink(missing_ok=True)
        return True


def reserve_beside(url: URL) -> Reserve | None:
    """Return the reserve of an SQLite database; None if the database is in no file."""
    if not url.database or url.database == ":memory:":
        return None
    return Reserve(Path(url.database))


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
