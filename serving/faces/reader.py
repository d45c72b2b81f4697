"""What is looked up in the gallery in SQL. Every look sees one snapshot and takes no lock."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, select

from serving.faces.database import Database
from serving.faces.tables import changes, embeddings, gallery, people, pictures
from serving.problems import RequestError

Vectors = npt.NDArray[np.float32]
"""N x D."""
Numbers = npt.NDArray[np.int64]
"""Of pictures; N."""

MAX_SQL_PARAMETERS = 500
"""Values in one IN (...)."""


class Page(NamedTuple):
    """What changed in the gallery after a number, as far as `upto`."""

    model: str | None
    head: int
    upto: int
    numbers: Numbers
    vectors: Vectors
    removed: Numbers


class EnrolledPicture(NamedTuple):
    """An enrolled picture, with its embedding."""

    number: int
    picture: str
    person: str
    vector: npt.NDArray[np.float32]


class GalleryReader:
    """The gallery, as far as it is read.

    Every method raises a `RequestError` where the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def people(self, after: int, limit: int) -> list[Any]:
        """Rows (number, name, created, pictures) of people made after that change, in order."""
        own = select(func.count()).where(pictures.c.person == people.c.number)
        query = select(people, own.scalar_subquery().label("pictures"))
        query = query.where(people.c.number > after).order_by(people.c.number).limit(limit)
        with self.database.read() as connection:
            return list(connection.execute(query))

    def person(self, person: str) -> tuple[datetime, list[Any]]:
        """When a person was made, and rows (id, created, aligned, kept) of their pictures.

        Raises:
            RequestError: nobody of that id is enrolled.
        """
        with self.database.read() as connection:
            number = person_number(connection, person)
            query = select(people.c.created).where(people.c.number == number)
            created = connection.scalars(query).one()
            kept = pictures.c.content.is_not(None).label("kept")
            rows = connection.execute(
                select(pictures.c.id, pictures.c.created, pictures.c.aligned, kept)
                .where(pictures.c.person == number)
                .order_by(pictures.c.number)
            )
            return created, list(rows)

    def changes(self, after: int, limit: int) -> list[Any]:
        """Rows of the change log after a number, oldest first."""
        query = select(changes).where(changes.c.number > after).order_by(changes.c.number)
        with self.database.read() as connection:
            return list(connection.execute(query.limit(limit)))

    def model(self) -> str | None:
        """Hash of the gallery's model; None as long as nobody was enrolled."""
        with self.database.read() as connection:
            return connection.scalar(select(gallery.c.model))

    def state(self) -> tuple[str | None, int, int, int]:
        """Hash of the gallery's model, newest change, numbers of people and pictures."""
        with self.database.read() as connection:
            model, head = connection.execute(select(gallery.c.model, gallery.c.head)).one()
            counts = [
                connection.scalar(select(func.count()).select_from(table)) or 0
                for table in (people, pictures)
            ]
        return model, head, counts[0], counts[1]

    def page(self, after: int, limit: int) -> Page:
        """Up to `limit` embeddings of the gallery's model enrolled after a change, as of now."""
        with self.database.read() as connection:
            model, head = connection.execute(select(gallery.c.model, gallery.c.head)).one()
            if head == after:
                return Page(model, head, head, *_arrays([]), np.empty(0, np.int64))
            query = _vectors(model).where(embeddings.c.picture > after)
            rows = connection.execute(query.order_by(embeddings.c.picture).limit(limit)).all()
            upto = rows[-1][0] if len(rows) == limit else head
            left = select(changes.c.removed).where(
                changes.c.number > after, changes.c.number <= upto, changes.c.removed.is_not(None)
            )
            # to an empty cache nothing can be removed
            gone = list(connection.scalars(left)) if after else []
        return Page(model, head, upto, *_arrays(rows), np.array(gone, np.int64))

    def sample(self, count: int, seed: int) -> tuple[Numbers, Vectors]:
        """About `count` embeddings from all over the gallery, in runs of neighbours."""
        runs = max(1, count // MAX_SQL_PARAMETERS)
        rows: dict[int, bytes] = {}
        with self.database.read() as connection:
            model, head = connection.execute(select(gallery.c.model, gallery.c.head)).one()
            for start in np.random.default_rng(seed).integers(0, max(head, 1), runs).tolist():
                query = _vectors(model).where(embeddings.c.picture > start)
                query = query.order_by(embeddings.c.picture).limit(-(-count // runs))
                rows.update((number, vector) for number, vector in connection.execute(query))
        return _arrays(sorted(rows.items()))

    def enrolled(self, numbers: Iterable[int], model: str) -> list[EnrolledPicture]:
        """Whose the pictures of these numbers are, as far as they are enrolled."""
        columns = (pictures.c.number, pictures.c.id, people.c.name, embeddings.c.vector)
        query = (
            select(*columns)
            .join(people, people.c.number == pictures.c.person)
            .join(embeddings, embeddings.c.picture == pictures.c.number)
            .where(embeddings.c.model == model)
        )
        found = []
        wanted = list(numbers)
        with self.database.read() as connection:
            for i in range(0, len(wanted), MAX_SQL_PARAMETERS):
                part = query.where(pictures.c.number.in_(wanted[i : i + MAX_SQL_PARAMETERS]))
                found += [
                    EnrolledPicture(number, picture, person, np.frombuffer(vector, "<f4"))
                    for number, picture, person, vector in connection.execute(part)
                ]
        return found


def person_number(connection: Connection, person: str) -> int:
    """Number of a person.

    Raises:
        RequestError: nobody of that id is enrolled.
    """
    number = connection.scalar(select(people.c.number).where(people.c.name == person))
    if number is None:
        raise RequestError("unknown-person", f"nobody is enrolled as {person!r}.")
    return int(number)


def _vectors(model: str | None) -> Any:
    query = select(embeddings.c.picture, embeddings.c.vector)
    return query.where(embeddings.c.model == model)


def _arrays(rows: Sequence[Any]) -> tuple[Numbers, Vectors]:
    numbers = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    data = np.frombuffer(b"".join(row[1] for row in rows), "<f4")
    return numbers, data.reshape(len(rows), -1) if rows else np.empty((0, 0), np.float32)
