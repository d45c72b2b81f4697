"""Checks the ids of people and pictures."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from serving.problems import RequestError

MAX_CHARACTERS = 200
MAX_GIVEN = 4 * MAX_CHARACTERS
"""Number of characters of an id as it is sent, before it is composed."""


def check_person(person: str) -> str:
    """Return the id of a person in the form in which it is stored, so that what looks alike is one.

    Format characters (zero-width ones, marks of direction) and outer white space are left out, and
    the rest is composed (Unicode normalization form C, UAX #15). What is left has 1 to 200
    characters, without control characters and `/`.

    Raises:
        RequestError: it is not valid.
    """
    if len(person) > MAX_GIVEN:  # composing very long texts takes long
        raise _bad_person(f"it has {len(person)} characters")
    shown = "".join(each for each in person if unicodedata.category(each) != "Cf")
    name = unicodedata.normalize("NFC", shown).strip()
    if not 1 <= len(name) <= MAX_CHARACTERS:
        raise _bad_person(f"it has {len(name)} characters that count")
    for character in name:
        if character == "/" or unicodedata.category(character) in {"Cc", "Cs"}:
            raise _bad_person(f"it has the character U+{ord(character):04X}")
    return name


def is_picture_id(name: str) -> bool:
    """Whether a name has the form of a picture's id: 32 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{32}", name) is not None


def _bad_person(reason: str) -> RequestError:
    return RequestError(
        "bad-person",
        f"not an id of a person: {reason}; an id has 1 to {MAX_CHARACTERS} characters of any "
        "script, without control characters and '/'. Outer spaces and zero-width characters do not "
        "count.",
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
