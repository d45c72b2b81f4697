"""Checks the ids of people and pictures."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from serving.problems import RequestError

MAX_CHARACTERS = 200


def check_person(person: str) -> str:
    """Check an id of a person: 1 to 200 Unicode characters, without control characters and `/`.

    Returns:
        The id.

    Raises:
        RequestError: it is not valid.
    """
    if not 1 <= len(person) <= MAX_CHARACTERS:
        raise _bad_person(f"it has {len(person)} characters")
    for character in person:
        if character == "/" or unicodedata.category(character) in {"Cc", "Cs"}:
            raise _bad_person(f"it has the character U+{ord(character):04X}")
    return person


def is_picture_id(name: str) -> bool:
    """Whether a name has the form of a picture's id: 32 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{32}", name) is not None


def _bad_person(reason: str) -> RequestError:
    return RequestError(
        "bad-person",
        f"not an id of a person: {reason}; an id has 1 to {MAX_CHARACTERS} characters of any "
        "script, without control characters and '/'.",
    )


def check_path(scope: Mapping[str, Any]) -> None:
    """Refuse a path that contains an encoded slash or is not UTF-8.

    The server decodes paths before it routes them, so `a%2Fpictures%2Fb` would be taken for picture
    `b` of person `a`.

    Raises:
        RequestError: the path contains an encoded slash, or is not UTF-8.
    """
    raw: bytes = scope.get("raw_path", b"")
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise _bad_person("it is not UTF-8") from None
    if b"%2f" in raw.lower():
        raise _bad_person("it has the character U+002F")
