"""The names of splits, and the check that no picture is in two of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from artifacts.datasets.base import file_digest
from artifacts.errors import DataError

SPLITS = ("train", "test")
VALIDATION = ("validation", "val", "valid")
"""Names of the folder of validation pictures, of which a data set may have one."""
LIKE_SPLITS = {"training", "testing", *SPLITS, *VALIDATION}
WRITTEN = {
    "train": "train",
    "training": "train",
    **dict.fromkeys((*VALIDATION, "dev"), "validation"),
    "test": "test",
    "testing": "test",
}
"""The split that a word means, in any case: train, validation or test."""


def split_of(word: str) -> str | None:
    """Return the split that a word means: train, validation or test; None if it means none."""
    return WRITTEN.get(word.strip().lower())


def check_disjoint(parts: Mapping[str, Iterable[Path]]) -> None:
    """Check that no two splits share a picture, byte by byte.

    Args:
        parts: Picture files of each split.

    Raises:
        DataError: Two splits share a picture; the message names both files.
    """
    if len(parts) == 1:
        return
    seen: dict[bytes, tuple[str, Path]] = {}
    for part, paths in parts.items():
        for path in paths:
            other, first = seen.setdefault(file_digest(path), (part, path))
            if other != part:
                raise DataError(
                    f"{path} is the same picture as {first}; figures on pictures that a model was "
                    f"trained on say nothing, so remove one of them."
                )
