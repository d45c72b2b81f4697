"""Says in plain words what is wrong with a setting of a recipe, and what is allowed."""

from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from training.recipe_file import Key, nearest

MAX_SHOWN = 60
"""Maximum length of a value in a message."""
NOT_IN_FILES = ("command", "file", "profile")
"""Fields of a recipe that are set when it is read."""
ONLY_IN_FILES = ("grid", "profiles", "variants")
"""Keys of a recipe file that are no settings."""


class SettingError(ValueError):
    """A setting has a value that others exclude.

    Args:
        setting: Its dotted name, such as optimizer.name.
        message: What is wrong and what is allowed.
    """

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.path: tuple[Key, ...] = tuple(setting.split("."))


def explain(invalid: ValidationError, recipe: type) -> tuple[tuple[Key, ...], str]:
    """Return the setting that is wrong first, by its keys, and a message about it.

    Unknown settings come first, because a misspelt one is reported as missing as well.

    Args:
        invalid: The errors of a validation.
        recipe: The dataclass that was validated.
    """
    error = min(invalid.errors(), key=lambda each: each["type"] != "unexpected_keyword_argument")
    path, kind, value = tuple(error["loc"]), error["type"], error["input"]
    if kind == "value_error":
        cause = error.get("ctx", {}).get("error")
        return (cause.path, str(cause)) if isinstance(cause, SettingError) else (path, str(cause))
    if kind == "unexpected_keyword_argument":
        known = _settings(recipe, path[:-1])
        group = f"settings of {path[-2]}" if len(path) > 1 else "settings"
        return path, (
            f"there is no such setting; {nearest(str(path[-1]), known)}"
            f"The {group} are: {', '.join(known)}."
        )
    if kind == "missing":
        number = f"value number {path[-1] + 1}" if isinstance(path[-1], int) else "this setting"
        return path, f"{number} is missing."
    if kind == "literal_error":
        allowed = _allowed(recipe, path)
        guess = nearest(str(value), allowed)
        choices = f"{'Use' if guess else 'use'} one of: {', '.join(allowed)}."
        return path, f"{_shown(value)} is not allowed; {guess}{choices}"
    known = _settings(recipe, path)
    if kind.startswith("dataclass") and known:
        return path, f"settings are expected, not {_shown(value)}. They are: {', '.join(known)}."
    return path, f"{error['msg']}, not {_shown(value)}."


def _settings(recipe: type, path: tuple[Key, ...]) -> list[str]:
    """Return the names of the settings in a group, or of those at the top level."""
    group = _type(recipe, path)
    if not is_dataclass(group):
        return []
    names = [field.name for field in fields(group) if field.name not in NOT_IN_FILES]
    return names if path else [*names, *ONLY_IN_FILES]


def _allowed(recipe: type, path: tuple[Key, ...]) -> list[str]:
    """Return the values that the type of a setting lists."""
    found: list[str] = []
    pending = [_type(recipe, path)]
    while pending:
        each = pending.pop(0)
        if get_origin(each) is Literal:
            found += map(str, get_args(each))
        else:
            pending += get_args(each)
    return found


def _type(recipe: type, path: tuple[Key, ...]) -> Any:
    """Return the type of a setting; of `Svm | None`, that is `Svm`."""
    found: Any = recipe
    for key in path:
        if is_dataclass(found):
            found = get_type_hints(found).get(str(key))
            found = next((part for part in get_args(found) if is_dataclass(part)), found)
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
