"""Readers of the values of the options of `vitrine import`."""

import os
from pathlib import Path

import click


def per_channel(text: str) -> tuple[float, ...]:
    """Read three numbers separated by commas, or one number for all channels."""
    return _numbers(text, (3, 1), "3 numbers separated by commas, or one for all channels")


def sides(text: str) -> tuple[float, ...]:
    """Read two numbers separated by commas."""
    return _numbers(text, (2,), "2 numbers separated by commas")


def colour(text: str) -> tuple[int, ...]:
    """Read three integers separated by commas."""
    return tuple(int(value) for value in _numbers(text, (3,), "3 numbers separated by commas"))


def size(text: str) -> tuple[int, int]:
    """Read a (height, width), written as `HEIGHTxWIDTH` or as one number for both."""
    height, _, width = text.lower().partition("x")
    if not height.isdecimal() or not (width or height).isdecimal():
        raise click.BadParameter(f"{text!r}: expected HEIGHTxWIDTH in pixels, such as 224x224.")
    return int(height), int(width or height)


def scale(text: str) -> str:
    """Read a range of pixel values, with two dots in place of the hyphen."""
    scales = {"0-1": "0..1", "0-255": "0..255", "-1-1": "-1..1"}
    if text not in scales:
        raise click.BadParameter(f"{text!r}: expected one of {', '.join(scales)}.")
    return scales[text]


def _numbers(text: str, counts: tuple[int, ...], expected: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts:
        raise click.BadParameter(f"{text!r}: expected {expected}.")
    return numbers


def read_classes(given: str) -> list[str]:
    """Return names that are separated by commas, or those in a file with one name per line.

    Raises:
        click.BadParameter: the file is not UTF-8 text.
    """
    if not os.path.isfile(given):  # noqa: PTH113  Path.is_file raises for a long list of names
        return [name.strip() for name in given.split(",")]
    try:
        lines = Path(given).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(
            f"{given}: not readable as UTF-8 text ({error}); write one class name per line."
        ) from None
    return [line.strip() for line in lines if line.strip()]
