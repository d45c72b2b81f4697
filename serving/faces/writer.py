"""Changes the gallery: enrols and removes. Every change is one transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Table, delete, func, insert, select

from serving.database.erasure import pieces_of
from serving.faces.database import Change, Database
from serving.faces.idempotency import (
    Enrolled,
    IdempotencyKey,
    delete_expired_keys,
    earlier_answer,
    erase_answers,
    remember_answer,
)
from serving.faces.reader import person_number
from serving.faces.tables import changes, embeddings, people, pictures
from serving.problems import RequestError


class NewPicture(NamedTuple):
    """A picture to enrol."""

    person: str
    vector: npt.NDArray[np.float32]
    aligned: bool
    content: bytes | None
    """The encoded picture, as sent; None if pictures are not kept."""
    id: str
    created: datetime | None = None
    """When it was first enrolled; None means now."""


class Removal(NamedTuple):
    """What was removed from the gallery.

    Attributes:
        at: when, UTC.
        change: number of the last change.
        pictures: ids of the removed pictures.
        embeddings: number of removed embeddings.
        contents: number of removed pictures that had been kept.
        answers: number of stored answers to enrolments that were deleted.
        traces_erased: see `Database.erase_traces`.
    """

    at: datetime
    change: int
    pictures: tuple[str, ...]
    embeddings: int
    contents: int
    answers: int
    traces_erased: bool


class GalleryWriter:
    """The changes that can be made to the gallery.

    Every method raises a `RequestError` if the database does not answer.

    Args:
        database: where the gallery is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def enrol(
        self,
        person: str,
        model: str,
        new: Sequence[NewPicture],
        actor: str,
        idempotency_key: IdempotencyKey | None = None,
    ) -> Enrolled:
        """Add pictures of a person, who is added too if necessary.

        Args:
            person: id of the person, already checked.
            model: hash of the model that gave the embeddings.
            new: the pictures.
            actor: who asked for it, for the change log.
            idempotency_key: if given, the request is carried out once, however often it is sent.

        Raises:
            RequestError: embeddings of another model are enrolled, or the key was used for another
                request.
        """
        with self.database.change() as change:
            if idempotency_key is not None:
                delete_expired_keys(change)
                earlier = earlier_answer(change.connection, actor, idempotency_key)
                if earlier is not None:
                    return earlier
            bind_model(change, model)
            add_pictures(change, new, model, actor, "enrol")
            enrolled = Enrolled(tuple(picture.id for picture in new), change.head, replayed=False)
            if idempotency_key is not None:
                remember_answer(change, actor, idempotency_key, person, enrolled)
        return enrolled

    def remove_person(self, person: str, actor: str) -> Removal:
        """Remove a person, with everything that is stored about them except the change log.

        It is one transaction, except on a full disk, where pictures are removed a few at a time.

        Raises:
            RequestError: nobody is enrolled under that id.
        """
        earlier: list[Removal] = []

        def pieces() -> None:
            for piece in pieces_of(self._sizes(person)):
                chosen = pictures.c.number.in_(piece)
                with self.database.change() as change:
                    earlier.append(remove_pictures(change, chosen, actor, "remove picture"))
                self.database.erase_traces()

        removed = self.database.run_erasure(lambda: self._remove_person(person, actor), pieces)
        for each in earlier:
            removed = removed._replace(
                pictures=each.pictures + removed.pictures,
                embeddings=each.embeddings + removed.embeddings,
                contents=each.contents + removed.contents,
            )
        return removed._replace(traces_erased=self.database.erase_traces())

    def remove_picture(self, person: str, picture: str, actor: str) -> Removal:
        """Remove one picture of a person. The person stays, even without any picture.

        Raises:
            RequestError: there is no such person or picture.
        """
        removed = self.database.run_erasure(lambda: self._remove_picture(person, picture, actor))
        return removed._replace(traces_erased=self.database.erase_traces())

    def _remove_person(self, person: str, actor: str) -> Removal:
        with self.database.change() as change:
            number = person_number(change.connection, person)
            chosen = pictures.c.person == number
            removed = remove_pictures(change, chosen, actor, "remove picture")
            answers = erase_answers(change.connection, number)
            change.connection.execute(delete(people).where(people.c.number == number))
            row = change.log_row(change.next_number(), actor, "remove person", person=person)
            change.connection.execute(insert(changes), row)
            return removed._replace(answers=answers, change=change.head)

    def _remove_picture(self, person: str, picture: str, actor: str) -> Removal:
        with self.database.change() as change:
            number = person_number(change.connection, person)
            chosen = (pictures.c.person == number) & (pictures.c.id == picture)
            removed = remove_pictures(change, chosen, actor, "remove picture")
            if not removed.pictures:
                raise RequestError(
                    "unknown-picture",
                    f"{person!r} has no picture {picture!r}; GET /v1/faces/people/ID lists them.",
                )
            answers = erase_answers(change.connection, number)
            return removed._replace(answers=answers, change=change.head)

    def _sizes(self, person: str) -> list[tuple[int, int]]:
        """Return the number of each picture of a person, and the bytes that are kept of it."""
        with self.database.read() as connection:
            number = person_number(connection, person)
            size = func.coalesce(func.length(pictures.c.content), 0)
            query = select(pictures.c.number, size).where(pictures.c.person == number)
            return [(row[0], row[1]) for row in connection.execute(query)]


def bind_model(change: Change, model: str) -> None:
    """Check that a change is of the gallery's model; an empty gallery takes on any model.

    Raises:
        RequestError: embeddings of another model are enrolled.
    """
    if change.model in {None, model}:
        change.model = model
        return
    if change.connection.scalar(select(pictures.c.number).limit(1)) is None:
        change.model = model
        return
    raise model_mismatch(change.model, model)


def model_mismatch(enrolled: str | None, asked: str) -> RequestError:
    """Return the refusal of embeddings that cannot be compared with those of the gallery."""
    return RequestError(
        "another-model",
        f"the gallery holds embeddings of model {str(enrolled)[:12]}…, but these are of model "
        f"{asked[:12]}…; serve the gallery's model, or move the gallery with "
        "`vitrine faces re-embed`.",
    )


def add_pictures(
    change: Change, new: Sequence[NewPicture], model: str, actor: str, action: str
) -> None:
    """Insert pictures, and the people on them who are not in the gallery yet.

    Args:
        change: the open transaction, for which `bind_model` was called.
        new: the pictures, none of which is in the gallery.
        model: hash of the model that gave the embeddings.
        actor: who asked for it.
        action: name of the action in the change log.
    """
    names = {picture.person for picture in new}
    known = select(people.c.name, people.c.number).where(people.c.name.in_(names))
    numbers = {row.name: row.number for row in change.connection.execute(known)}
    rows: dict[Table, list[dict[str, Any]]] = {
        table: [] for table in (people, pictures, embeddings, changes)
    }
    for picture in new:
        person = picture.person
        if person not in numbers:
            numbers[person] = change.next_number()
            made = {"number": numbers[person], "name": person, "created": change.at}
            rows[people].append(made)
            note = change.log_row(numbers[person], actor, "add person", person=person)
            rows[changes].append(note)
        number = change.next_number()
        rows[pictures].append(
            {
                "number": number,
                "id": picture.id,
                "person": numbers[person],
                "created": picture.created or change.at,
                "aligned": picture.aligned,
                "content": picture.content,
            }
        )
        vector = picture.vector.astype("<f4").tobytes()
        rows[embeddings].append({"picture": number, "model": model, "vector": vector})
        rows[changes].append(
            change.log_row(number, actor, action, person=person, picture=picture.id)
        )
    for table, values in rows.items():
        if values and table is embeddings:
            change.add_embeddings(values)
        elif values:
            change.connection.execute(insert(table), values)


def remove_pictures(change: Change, chosen: Any, actor: str, action: str) -> Removal:
    """Delete the chosen pictures with their embeddings, and log each as a change.

    Args:
        change: the open transaction.
        chosen: condition on the table `pictures`.
        actor: who asked for it.
        action: name of the action in the change log.
    """
    connection = change.connection
    kept = pictures.c.content.is_not(None).label("kept")
    owner = people.c.number == pictures.c.person
    query = select(pictures.c.number, pictures.c.id, kept, people.c.name).join(people, owner)
    rows = connection.execute(query.where(chosen)).all()
    numbers = select(pictures.c.number).where(chosen)
    gone = connection.execute(delete(embeddings).where(embeddings.c.picture.in_(numbers))).rowcount
    connection.execute(delete(pictures).where(chosen))
    notes = [
        change.log_row(
            change.next_number(), actor, action, person=row.name, picture=row.id, removed=row.number
        )
        for row in rows
    ]
    if notes:
        connection.execute(insert(changes), notes)
    names = tuple(row.id for row in rows)
    contents = sum(row.kept for row in rows)
    return Removal(change.at, change.head, names, gone, contents, 0, traces_erased=False)
