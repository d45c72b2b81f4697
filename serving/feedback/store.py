"""Feedback in the database: versions of models, what was said about answers, and pictures."""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    func,
    insert,
    select,
    true,
    update,
)

from artifacts import VitrineError
from serving.database.erasure import pieces_of
from serving.database.store import Store
from serving.feedback.figures import read_figures
from serving.feedback.schemas import FeedbackFigures
from serving.feedback.tables import SCHEMA_VERSION, feedback, metadata, state, versions

SECRET_BYTES = 32
PAGE_SIZE = 1_000
"""Number of rows that are read with one query."""


class Version(NamedTuple):
    """One version of a model: the same graph, classes, temperature and thresholds."""

    version: str
    """First 16 hexadecimal digits of the digest of its manifest."""
    model: str
    hash: str
    task: str
    classes: tuple[str, ...]


class Row(NamedTuple):
    """Feedback about one answer, without its picture."""

    key: str
    version: str
    model: str
    hash: str
    answered: datetime
    given: datetime
    predicted: tuple[str, ...]
    probability: float | None
    correct: bool
    labels: tuple[str, ...] | None
    picture: str | None
    """Digest of the picture; None if it is not kept."""


class FeedbackStore(Store):
    """The tables of feedback. Changes run one after the other, across all workers and servers.

    Every method raises a `RequestError` if the database does not answer.

    Args:
        url: see `Store`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, "feedback", "feedback-unavailable")
        with self.read() as connection:
            self.secret = bytes(connection.execute(select(state.c.secret)).scalar_one())
            """Signs the ids of answers; it is as old as the tables."""

    def add_versions(self, new: Sequence[Version]) -> None:
        """Remember versions of models, so that feedback can come after they have been replaced."""
        with self._change() as connection:
            known = set(connection.scalars(select(versions.c.version)))
            rows = [
                {**each._asdict(), "classes": json.dumps(each.classes)}
                for each in {each.version: each for each in new}.values()
                if each.version not in known
            ]
            if rows:
                connection.execute(insert(versions), rows)

    def version(self, version: str) -> Version | None:
        """Return a version of a model; None if it was never served."""
        with self.read() as connection:
            query = select(versions).where(versions.c.version == version)
            row = connection.execute(query).mappings().first()
        return None if row is None else Version(**{**row, "classes": _names(row["classes"])})

    def put(self, key: str, values: dict[str, Any]) -> None:
        """Store feedback about an answer, in place of what was stored about it.

        Args:
            key: of the answer.
            values: of the columns; a picture that was kept stays if there is none among them.
        """
        with self._change() as connection:
            changed = connection.execute(
                update(feedback).where(feedback.c.key == key).values(values)
            ).rowcount
            if not changed:
                connection.execute(insert(feedback).values(key=key, **values))

    def get(self, key: str) -> Row | None:
        """Return what is stored about an answer; None if nothing is."""
        with self.read() as connection:
            row = connection.execute(_rows().where(feedback.c.key == key)).first()
        return None if row is None else _row(row)

    def rows(self, model: str | None = None) -> Iterator[Row]:
        """Yield all feedback, or that about one model, in the order of the keys."""
        after = ""
        while True:
            query = _rows().where(feedback.c.key > after).order_by(feedback.c.key)
            if model is not None:
                query = query.where(versions.c.model == model)
            with self.read() as connection:
                page = [_row(row) for row in connection.execute(query.limit(PAGE_SIZE))]
            yield from page
            if len(page) < PAGE_SIZE:
                return
            after = page[-1].key

    def content(self, key: str) -> bytes | None:
        """Return the picture that is kept with feedback; None if there is none any more."""
        with self.read() as connection:
            content = connection.scalar(select(feedback.c.content).where(feedback.c.key == key))
        return None if content is None else bytes(content)

    def erase(self, keys: Sequence[str]) -> int:
        """Erase the feedback about answers; returns how many had any."""
        return self._erase_rows(feedback.c.key.in_(keys))

    def erase_all(self) -> int:
        """Erase all feedback; returns how much there was."""
        return self._erase_rows(true())

    def purge(self, before: datetime) -> int:
        """Erase what was given before a time, with its traces; returns how much that was."""
        old = feedback.c.given < before
        with self.read() as connection:
            if not connection.scalar(select(func.count()).select_from(feedback).where(old)):
                return 0
        gone = self._erase_rows(old)
        self.erase_traces()
        return gone

    def _erase_rows(self, chosen: ColumnElement[bool]) -> int:
        """Erase rows in one transaction, except on a full disk, where it is a few at a time."""
        earlier: list[int] = []

        def erase(condition: ColumnElement[bool]) -> int:
            with self._change() as connection:
                return connection.execute(delete(feedback).where(condition)).rowcount

        def pieces() -> None:
            size = func.coalesce(func.length(feedback.c.content), 0)
            with self.read() as connection:
                found = connection.execute(select(feedback.c.key, size).where(chosen)).all()
            for piece in pieces_of((row[0], row[1]) for row in found):
                earlier.append(erase(feedback.c.key.in_(piece)))
                self.erase_traces()

        return self.run_erasure(lambda: erase(chosen), pieces) + sum(earlier)

    def figures(self) -> tuple[FeedbackFigures, ...]:
        """Return accuracy and calibration of each version that has feedback."""
        with self.read() as connection:
            return read_figures(connection)

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        with self.write() as connection:
            connection.execute(update(state).values(id=1))  # locks it: the next change waits
            yield connection

    def _create_tables(self, connection: Connection) -> None:
        metadata.create_all(connection)
        version = connection.scalar(select(state.c.version))
        if version is None:
            secret = secrets.token_bytes(SECRET_BYTES)
            connection.execute(insert(state).values(id=1, version=SCHEMA_VERSION, secret=secret))
        if version not in {None, SCHEMA_VERSION}:
            raise VitrineError(
                f"the feedback in {self.url!r} has version {version}; this release reads version "
                f"{SCHEMA_VERSION}. Export it with the Vitrine release that wrote it."
            )


def _rows() -> Select[Any]:
    own = [feedback.c[name] for name in Row._fields if name not in {"model", "hash"}]
    query = select(*own, versions.c.model, versions.c.hash)
    return query.join(versions, versions.c.version == feedback.c.version)


def _row(row: Any) -> Row:
    labels = None if row.labels is None else _names(row.labels)
    values = {**row._mapping, "predicted": _names(row.predicted), "labels": labels}  # noqa: SLF001
    return Row(**values)


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
