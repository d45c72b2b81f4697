"""The keys with which an enrolment is sent, and the answers to it, so that it is safe to repeat."""

import hashlib
import json
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from serving.faces.database import Change
from serving.faces.reader import person_number
from serving.faces.tables import requests
from serving.problems import RequestError

KEY_LIFETIME = timedelta(hours=24)
"""How long an idempotency key is remembered."""


class IdempotencyKey(NamedTuple):
    """The key of an Idempotency-Key header, which makes an enrolment safe to repeat."""

    key: str
    fingerprint: str
    """sha256 of the request; the key is valid for this request only."""


class Enrolled(NamedTuple):
    """Pictures that were enrolled, and whether an earlier request with the same key did it."""

    pictures: tuple[str, ...]
    change: int
    replayed: bool


def fingerprint(*parts: str | bytes) -> str:
    """Return the sha256 of parts, each preceded by its length, so that different lists differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def delete_expired_keys(change: Change) -> None:
    """Delete the keys that are older than `KEY_LIFETIME`, with the answers to their requests."""
    old = requests.c.created < change.at - KEY_LIFETIME
    change.connection.execute(delete(requests).where(old))


def earlier_answer(
    connection: Connection, actor: str, idempotency_key: IdempotencyKey
) -> Enrolled | None:
    """Return what a request with the key was answered; None if there was none.

    Raises:
        RequestError: that was another request, or what it enrolled has been removed.
    """
    query = select(requests.c.fingerprint, requests.c.answer)
    same = (requests.c.actor == actor) & (requests.c.key == idempotency_key.key)
    row = connection.execute(query.where(same)).first()
    if row is None:
        return None
    if row.answer is None:
        raise RequestError(
            "idempotency-key-used",
            "what was enrolled with this key has been removed since; use another key.",
        )
    if row.fingerprint != idempotency_key.fingerprint:
        raise RequestError(
            "idempotency-key-used",
            "this key was sent with another request before; use a new key for each request, and "
            "the same key only to repeat a request unchanged.",
        )
    names, change = json.loads(row.answer)
    return Enrolled(tuple(names), change, replayed=True)


def remember_answer(
    change: Change, actor: str, idempotency_key: IdempotencyKey, person: str, enrolled: Enrolled
) -> None:
    """Store the answer to an enrolment, in the transaction that enrols."""
    row = {
        "actor": actor,
        "key": idempotency_key.key,
        "fingerprint": idempotency_key.fingerprint,
        "created": change.at,
        "person": person_number(change.connection, person),
        "answer": json.dumps([enrolled.pictures, enrolled.change]),
    }
    change.connection.execute(insert(requests), row)


def erase_answers(connection: Connection, person: int) -> int:
    """Delete the stored answers to enrolments of a person; their keys still count as used."""
    known = (requests.c.person == person) & requests.c.answer.is_not(None)
    blank = {"person": None, "fingerprint": None, "answer": None}
    return connection.execute(update(requests).where(known).values(blank)).rowcount
