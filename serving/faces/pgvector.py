"""The column in which PostgreSQL's extension pgvector searches embeddings.

It is called `searched`, holds the numbers of the column `vector`, and exists only in databases that
a server with `VITRINE_FACE_INDEX=pgvector` has opened. Each embedding is one row with both, so that
they come and go together. Servers that search with FAISS leave `searched` empty, and `fill` is then
called before a search.
"""

from typing import Any

import numpy as np
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from artifacts import VitrineError

EXTENSION = "vector"
"""Name of pgvector in PostgreSQL."""
MIN_VERSION = (0, 8)
"""Minimum version of pgvector, the first with iterative scans."""
FILL_ROWS = 10_000
"""Number of embeddings that are converted in one transaction."""
FILL_LOCK = 0x56495452494E46
"""Key of the PostgreSQL advisory lock of a transaction that converts embeddings."""
CHOICES = "Or unset VITRINE_FACE_INDEX, so that FAISS searches."


def prepare(connection: Connection) -> None:
    """Create the extension and the column if they are missing.

    Raises:
        VitrineError: the database has no pgvector, or one that is too old.
    """
    if connection.dialect.name != "postgresql":
        raise VitrineError(
            "VITRINE_FACE_INDEX=pgvector needs VITRINE_DATABASE=postgresql://user:password@host/"
            f"name. {CHOICES}"
        )
    query = text(
        "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = :name"
    )
    found = connection.execute(query, {"name": EXTENSION}).first()
    if found is None:
        raise VitrineError(
            "VITRINE_FACE_INDEX=pgvector: the PostgreSQL server of VITRINE_DATABASE lacks the "
            f"extension `{EXTENSION}`; install pgvector on it. {CHOICES}"
        )
    version = found.installed_version or found.default_version
    if tuple(map(int, version.split(".")[:2])) < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        raise VitrineError(
            f"VITRINE_FACE_INDEX=pgvector needs pgvector {least} or later, and the database has "
            f"{version}; install a later one and run `ALTER EXTENSION vector UPDATE`. {CHOICES}"
        )
    if found.installed_version is None:
        _create_extension(connection)
    known = "SELECT 1 FROM information_schema.columns WHERE table_schema = current_schema()"
    known += " AND table_name = 'embeddings' AND column_name = 'searched'"
    if connection.scalar(text(known)) is None:  # altering it waits for all who use the table
        connection.execute(text("ALTER TABLE embeddings ADD COLUMN searched vector"))
        # In the row itself wherever it fits: a search of all rows would fetch it from elsewhere.
        connection.execute(text("ALTER TABLE embeddings ALTER searched SET STORAGE MAIN"))


def insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert rows of the table `embeddings`: `picture`, `model` and `vector`, of D float32."""
    statement = text(
        "INSERT INTO embeddings (picture, model, vector, searched)"
        " VALUES (:picture, :model, :vector, CAST(:searched AS vector))"
    )
    connection.execute(statement, [{**row, "searched": _as_text(row["vector"])} for row in rows])


def fill(connection: Connection, model: str, after: int) -> int:
    """Fill the column of the next embeddings that lack it, at most `FILL_ROWS`.

    Args:
        connection: inside a transaction for writing.
        model: hash of the model that gave the embeddings.
        after: number of a picture; only those enrolled after it are looked at.

    Returns:
        Number of the last picture that was filled; 0 if none lacks it.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FILL_LOCK})
    lacking = text(
        "SELECT picture, vector FROM embeddings WHERE picture > :after AND model = :model"
        " AND searched IS NULL ORDER BY picture LIMIT :count"
    )
    given = {"after": after, "model": model, "count": FILL_ROWS}
    rows = connection.execute(lacking, given).all()
    if not rows:
        return 0
    update = text(
        "UPDATE embeddings SET searched = CAST(given.searched AS vector)"
        " FROM unnest(CAST(:pictures AS bigint[]), CAST(:searched AS text[]))"
        " AS given (picture, searched)"
        " WHERE embeddings.picture = given.picture AND embeddings.model = :model"
    )
    values = {
        "pictures": [row.picture for row in rows],
        "searched": [_as_text(row.vector) for row in rows],
    }
    connection.execute(update, {**values, "model": model})
    return int(rows[-1].picture)


def _create_extension(connection: Connection) -> None:
    try:
        connection.execute(text("CREATE EXTENSION vector"))
    except ProgrammingError as error:
        raise VitrineError(
            "VITRINE_FACE_INDEX=pgvector: the user of VITRINE_DATABASE may not create the "
            "extension `vector`; have a superuser run `CREATE EXTENSION vector` in the database. "
            f"{CHOICES}"
        ) from error


def _as_text(vector: bytes) -> str:
    """Return an embedding of D little-endian float32 as pgvector reads it."""
    return str(np.frombuffer(vector, "<f4").tolist())
