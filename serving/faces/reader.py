"""Reads the gallery from its database. Each query sees one snapshot and takes no lock."""

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
"""Embeddings, N x D."""
Numbers = npt.NDArray[np.int64]
"""Numbers of pictures, N."""

MAX_SQL_PARAMETERS = 500
"""Maximum number of values in one IN (...) of a query."""


class Page(NamedTuple):
    """The changes of the gallery after some change, up to and including the change `upto`.

    Attributes:
        model: hash of the gallery's model.
        head: number of the newest change.
        upto: number of the last change on this page.
        numbers: numbers of the pictures that were enrolled, N.
        vectors: their embeddings, N x D.
        removed: numbers of the pictures that were removed.
    """

    model: str | None
    head: int
    upto: int
    numbers: Numbers
    vectors: Vectors
    removed: Numbers


class EnrolledPicture(NamedTuple):
    """An enrolled picture, with its embedding."""

    number: int
    id: str
    person: str
    vector: npt.NDArray[np.float32]


class GalleryReader:
    """The queries that can be made to the gallery.

    Every method raises a `RequestError` if the database does not answer.

    Args:
        database: where the gallery is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def people(self, after: int, limit: int) -> list[Any]:
        """Return a row (number, name, created, pictures) for each person added after a change."""
        own = select(func.count()).where(pictures.c.person == people.c.number)
        query = select(people, own.scalar_subquery().label("pictures"))
        query = query.where(people.c.number > after).order_by(people.c.number).limit(limit)
        with self.database.read() as connection:
            return list(connection.execute(query))

    def person(self, person: str) -> tuple[datetime, list[Any]]:
        """Return when a person was added, and a row (id, created, aligned, kept) per picture.

        Raises:
            RequestError: nobody is enrolled under that id.
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
        """Return the rows of the change log after a number, oldest first."""
        query = select(changes).where(changes.c.number > after).order_by(changes.c.number)
        with self.database.read() as connection:
            return list(connection.execute(query.limit(limit)))

    def model(self) -> str | None:
        """Return the hash of the gallery's model; None if nobody was ever enrolled."""
        with self.database.read() as connection:
            return connection.scalar(select(gallery.c.model))

    def state(self) -> tuple[str | None, int, int, int]:
        """Return the model's hash, the newest change, and the numbers of people and pictures."""
        with self.database.read() as connection:
            model, head = connection.execute(select(gallery.c.model, gallery.c.head)).one()
            counts = [
                connection.scalar(select(func.count()).select_from(table)) or 0
                for table in (people, pictures)
            ]
        return model, head, counts[0], counts[1]

    def page(self, after: int, limit: int) -> Page:
        """Return the next changes after a change, with up to `limit` embeddings."""
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
            # from an empty index nothing can be removed
            gone = list(connection.scalars(left)) if after else []
        return Page(model, head, upto, *_arrays(rows), np.array(gone, np.int64))

    def sample(self, count: int, seed: int) -> tuple[Numbers, Vectors]:
        """Return about `count` embeddings: runs of consecutive ones from random places."""
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
        """Return the pictures with these numbers that are enrolled, with their embeddings."""
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

    def pictures_of(self, names: Sequence[str], model: str, limit: int) -> dict[str, Vectors]:
        """Return the embeddings of people's pictures, K x D each, by the person's name.

        Args:
            names: ids of the people; those who are not enrolled are left out.
            model: hash of the model that gave the embeddings.
            limit: maximum number of pictures of each person, the ones enrolled last.
        """
        order = func.row_number().over(
            partition_by=pictures.c.person, order_by=pictures.c.number.desc()
        )
        columns = (pictures.c.number, people.c.name, order.label("place"))
        numbered = select(*columns).join(people, people.c.number == pictures.c.person)
        found: dict[str, list[bytes]] = {}
        with self.database.read() as connection:
            for i in range(0, len(names), MAX_SQL_PARAMETERS):
                part = numbered.where(people.c.name.in_(names[i : i + MAX_SQL_PARAMETERS]))
                chosen = part.subquery()
                query = (
                    select(chosen.c.name, embeddings.c.vector)
                    .join(embeddings, embeddings.c.picture == chosen.c.number)
                    .where(chosen.c.place <= limit, embeddings.c.model == model)
                )
                for name, vector in connection.execute(query):
                    found.setdefault(name, []).append(vector)
        return {
            name: np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)
            for name, rows in found.items()
        }


def person_number(connection: Connection, person: str) -> int:
    """Return the number of a person.

    Raises:
        RequestError: nobody is enrolled under that id.
    """
    number = connection.scalar(select(people.c.number).where(people.c.name == person))
    if number is None:
        raise RequestError(
            "unknown-person", f"nobody is enrolled as {person!r}; /v1/faces/people lists everybody."
        )
    return int(number)


def _vectors(model: str | None) -> Any:
    query = select(embeddings.c.picture, embeddings.c.vector)
    return query.where(embeddings.c.model == model)


def _arrays(rows: Sequence[Any]) -> tuple[Numbers, Vectors]:
    numbers = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    data = np.frombuffer(b"".join(row[1] for row in rows), "<f4")
    return numbers, data.reshape(len(rows), -1) if rows else np.empty((0, 0), np.float32)
