"""Moves the gallery to another model, by embedding the kept pictures again.

The gallery answers with the old embeddings until the migration is complete; the switch is a single
change. An interrupted migration can be started again and continues from where it stopped.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, select

from serving.faces.database import Change, Database
from serving.faces.operations import check_comparable, embed, vectors_of
from serving.faces.tables import changes, embeddings, gallery, people, pictures
from serving.faces.writer import remove_pictures
from serving.inference.served_model import ServedModel
from serving.pictures.decode import read_pictures
from serving.problems import RequestError

BATCH = 64
"""Number of pictures that are embedded between two commits."""
ACTOR = "python -m serving re-embed"


class Plan(NamedTuple):
    """What a migration would do."""

    needed: bool
    """False if the gallery is empty, or already holds embeddings of this model."""
    pictures: int
    """Number of pictures in the gallery."""
    lost: int
    """Number of pictures that were not kept, and so cannot be embedded again."""
    people: int
    """Number of people all of whose pictures are lost: they cannot be found any more."""


def plan(database: Database, model: str) -> Plan:
    """Return what moving the gallery to the model with that hash would do."""
    kept = pictures.c.content.is_not(None)
    by_person = select(pictures.c.person).group_by(pictures.c.person)
    lost_people = by_person.having(func.count(pictures.c.content) == 0).subquery()
    with database.read() as connection:
        now = connection.scalar(select(gallery.c.model))
        total = connection.scalar(select(func.count()).select_from(pictures)) or 0
        kept_count = connection.scalar(select(func.count()).select_from(pictures).where(kept)) or 0
        people_lost = connection.scalar(select(func.count()).select_from(lost_people)) or 0
    return Plan(now != model and total > 0, total, total - kept_count, people_lost)


def re_embed(database: Database, model: ServedModel, progress: Callable[[int], object]) -> int:
    """Embed the kept pictures with another model, switch to it, and delete the old embeddings.

    Args:
        database: where the gallery is.
        model: the model to move to.
        progress: called with the number of pictures embedded, after each batch.

    Returns:
        Number of pictures that were lost: those of the plan, and any enrolled since without being
        kept.

    Raises:
        RequestError: a kept picture cannot be embedded; the gallery then stays with its old model.
    """
    while True:
        with database.read() as connection:
            rows = _pictures_to_embed(connection, model)
        if not rows:
            break
        values = _embed_rows(rows, model)
        with database.change() as change:  # some of them may have been removed meanwhile
            _insert(change, values)
        progress(len(rows))
    hash_ = model.artifact.hash
    with database.change() as change:
        while rows := _pictures_to_embed(change.connection, model):  # pictures enrolled since
            _insert(change, _embed_rows(rows, model))
        done = select(embeddings.c.picture).where(embeddings.c.model == hash_)
        lost = remove_pictures(change, pictures.c.number.not_in(done), ACTOR, "lose picture")
        change.connection.execute(delete(embeddings).where(embeddings.c.model != hash_))
        change.model = hash_
        note = change.log_row(change.next_number(), ACTOR, "re-embed")
        change.connection.execute(insert(changes), note)
    database.erase_traces()
    return len(lost.pictures)


def _pictures_to_embed(connection: Connection, model: ServedModel) -> list[Any]:
    """Return the next kept pictures without an embedding of the model, at most `BATCH`."""
    of_model = and_(
        embeddings.c.picture == pictures.c.number, embeddings.c.model == model.artifact.hash
    )
    query = (
        select(pictures, people.c.name)
        .join(people, people.c.number == pictures.c.person)
        .outerjoin(embeddings, of_model)
        .where(pictures.c.content.is_not(None), embeddings.c.picture.is_(None))
        .order_by(pictures.c.number)
        .limit(BATCH)
    )
    return list(connection.execute(query))


def _embed_rows(rows: list[Any], model: ServedModel) -> list[dict[str, Any]]:
    values = []
    for row in rows:
        try:
            decoded = read_pictures([row.content], model.manifest.input)
            faces = embed(model, decoded, aligned=row.aligned)
            check_comparable(model, faces)
        except RequestError as error:
            raise RequestError(
                error.code, f"picture {row.id} of {row.name!r}: {error.reason} Remove it first."
            ) from None
        vector = vectors_of(faces)[0].astype("<f4").tobytes()
        values.append({"picture": row.number, "model": model.artifact.hash, "vector": vector})
    return values


def _insert(change: Change, values: list[dict[str, Any]]) -> None:
    wanted = [value["picture"] for value in values]
    there = set(
        change.connection.scalars(select(pictures.c.number).where(pictures.c.number.in_(wanted)))
    )
    values = [value for value in values if value["picture"] in there]
    if values:
        change.add_embeddings(values)
