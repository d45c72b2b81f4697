"""The ids of answers: signed, so that the server need not remember what it answered.

An id holds all that is needed when feedback comes: when which version of a model answered what, how
sure it was and, if pictures are kept, which picture it was. It ends with an authentication code
(HMAC with SHA-256, RFC 2104) under a secret that all workers and servers of one database share. An
answer that nobody comments on therefore costs no row and leaves no trace.
"""

import hashlib
import hmac
import os
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

HEAD = struct.Struct(">BI6s8sfH")
"""Format, seconds since 1970, random bytes, version of the model, probability, number of classes.

The indices of the predicted classes follow as 16-bit numbers, then the digest of the picture, if it
is in the id, then the code.
"""
FORMAT = 1
MAX_CLASSES = 65_535
"""Maximum number of classes of a model whose answers have ids."""
NONCE_BYTES = 6
"""Random bytes that tell equal answers of one second apart."""
DIGEST_BYTES = 16
CODE_BYTES = 16
KEY_DIGITS = 2 * CODE_BYTES
MAX_CHARACTERS = 200_000
"""Maximum length of an id: more than one with `MAX_CLASSES` has."""


class GivenAnswer(NamedTuple):
    """What an id says about an answer."""

    key: str
    """The code of the id, 32 hexadecimal digits, under which feedback is stored."""
    at: datetime
    """When it was given, UTC, in whole seconds."""
    version: str
    """Version of the model, 16 hexadecimal digits."""
    predicted: tuple[int, ...]
    """Indices of the predicted classes: one, or those that are present in a multi-label answer."""
    probability: float
    """Calibrated probability of the predicted class; 0 in a multi-label answer."""
    picture: str | None
    """Digest of the picture, 32 hexadecimal digits; None if it is not in the id."""


def picture_digest(content: bytes) -> bytes:
    """Return the first 128 bits of the sha256 of an encoded picture."""
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def make_id(
    secret: bytes, version: bytes, predicted: Sequence[int], probability: float, digest: bytes
) -> str:
    """Return a new id for an answer that is given now.

    Args:
        secret: of the database.
        version: 8 bytes that identify the version of the model.
        predicted: indices of the predicted classes, each below `MAX_CLASSES`.
        probability: calibrated probability of the predicted class.
        digest: that of the picture, or nothing.
    """
    count = len(predicted)
    now = int(time.time())
    body = HEAD.pack(FORMAT, now, os.urandom(NONCE_BYTES), version, probability, count)
    body += struct.pack(f">{count}H", *predicted) + digest
    return urlsafe_b64encode(body + _code(secret, body)).rstrip(b"=").decode()


def read_id(secret: bytes, given: str) -> GivenAnswer | None:
    """Return what an id says; None if it was not made with this secret."""
    if not given.isascii() or len(given) > MAX_CHARACTERS:
        return None
    try:
        content = urlsafe_b64decode(given + "=" * (-len(given) % 4))
    except Error:
        return None
    body, code = content[:-CODE_BYTES], content[-CODE_BYTES:]
    if len(body) < HEAD.size or not hmac.compare_digest(code, _code(secret, body)):
        return None
    _, at, _, version, probability, count = HEAD.unpack_from(body)
    digest = body[HEAD.size + 2 * count :]
    return GivenAnswer(
        key=code.hex(),
        at=datetime.fromtimestamp(at, UTC),
        version=version.hex(),
        predicted=struct.unpack_from(f">{count}H", body, HEAD.size),
        probability=probability,
        picture=digest.hex() or None,
    )


def _code(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, body, "sha256")[:CODE_BYTES]
