"""Moves the gallery to another model's embeddings, from the pictures that were kept.

The gallery answers with the old embeddings until the very end. Interrupted, it goes on where it
was; the switch itself is one change.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, select

from serving.faces.database import Change, Database
from serving.faces.operations import check_comparable, embed, vectors_of
from serving.faces.tables import changes, embeddings, gallery, people, pictures
from serving.faces.writer import remove_pictures
from serving.inference.models import ServedModel
from serving.pictures.decode import read_pictures
from serving.problems import RequestError

BATCH = 64
"""Pictures that are embedded between two commits."""
ACTOR = "python -m serving re-embed"


class Plan(NamedTuple):
    """What a migration will do."""

    needed: bool
    """False where the gallery holds this model's embeddings already, or nothing."""
    pictures: int
    lost: int
    """Pictures that were not kept: nothing can be made of them."""
    people: int
    """People with no other pictures: nobody will find them any more."""


def plan(database: Database, model: str) -> Plan:
    """What moving to the model of that hash means."""
    kept = pictures.c.content.is_not(None)
    each = select(pictures.c.person).group_by(pictures.c.person)
    alone = each.having(func.count(pictures.c.content) == 0).subquery()
    with database.read() as connection:
        now = connection.scalar(select(gallery.c.model))
        total = connection.scalar(select(func.count()).select_from(pictures)) or 0
        there = connection.scalar(select(func.count()).select_from(pictures).where(kept)) or 0
        nobody = connection.scalar(select(func.count()).select_from(alone)) or 0
    return Plan(now != model and total > 0, total, total - there, nobody)


def re_embed(database: Database, model: ServedModel, progress: Callable[[int], object]) -> int:
    """Embed what was kept with another model, then switch to it and forget the old embeddings.

    Args:
        database: of the gallery.
        model: whose embeddings it shall hold.
        progress: called with the number of pictures embedded, after each batch.

    Returns:
        Number of pictures that were lost, as planned or enrolled since.

    Raises:
        RequestError: a kept picture cannot be embedded; nothing has changed then.
    """
    while True:
        with database.read() as connection:
            rows = _pictures_to_embed(connection, model)
        if not rows:
            break
        values = _embed_rows(rows, model)
        with database.change() as change:  # some may have been removed meanwhile
            _insert(change, values)
        progress(len(rows))
    hash_ = model.artifact.hash
    with database.change() as change:
        while rows := _pictures_to_embed(change.connection, model):  # enrolled since
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
    """Some kept pictures without an embedding of the model."""
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
        change.connection.execute(insert(embeddings), values)
