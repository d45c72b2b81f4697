"""The data set `table/FILE`: pictures that a table lists, with their labels and splits."""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.datasets.base import FileImages, ImageSet, file_digest
from artifacts.datasets.rows import SEPARATOR, Row, read_rows
from artifacts.datasets.splits import WRITTEN, check_disjoint, split_of
from artifacts.errors import DataError

COLUMNS = ("path", "label", "split")
"""Columns that a table has to have; all others are ignored, except `sha256`."""


@dataclass(frozen=True)
class Listed:
    """A picture that a table lists."""

    path: Path
    labels: tuple[str, ...]
    """Names of its classes; in a multi-label table there may be several or none."""
    split: str
    """train, validation or test."""
    where: str
    """The place of its row for messages, such as `pictures.csv, line 7`."""
    cells: Mapping[str, str]
    """All cells of its row, by column."""


def table(root: Path, split: str, file: str, name: str = "table") -> ImageSet:
    """Read one split of the pictures that a table lists.

    The table is a CSV, TSV, JSON Lines or Parquet file with the columns `path`, `label` and
    `split`. A path is absolute, or relative to the folder of the table. The split is train,
    validation or test. The validation pictures come last in the training split, and
    `ImageSet.validation` counts them. All splits have the same classes, in sorted order. If there
    is a column `sha256`, each picture must still have that content.

    If a cell holds several labels, separated by `|`, the data set is multi-label: cells may then be
    empty, too, and `ImageSet.labels` has a column for each class.

    Args:
        root: Folder that contains the data sets.
        split: train or test.
        file: The table's file: absolute, or relative to `root` or, if there is no such file, to the
            working folder.
        name: Name of the data set.

    Raises:
        DataError: The table cannot be read, or a column is missing; a row names a file that does
            not exist or has changed, no label although no row has several, or an unknown split; the
            split has no pictures; a class has none to train on; or two splits share a picture.
    """
    path = root / file if (root / file).is_file() else Path(file)
    listed = read_listed(path)
    parts: dict[str, list[Listed]] = {"train": [], "validation": [], "test": []}
    for picture in listed:
        parts[picture.split].append(picture)
    classes = _common_classes(path, parts)
    check_disjoint({part: [picture.path for picture in own] for part, own in parts.items() if own})
    validation = parts["validation"] if split == "train" else []
    chosen = parts[split] + validation
    if not parts[split]:
        raise DataError(f"{path}: no row has the split {split!r}; add some to the column 'split'.")
    return ImageSet(
        name,
        split,
        classes,
        FileImages([picture.path for picture in chosen]),
        _labels(chosen, classes, multi_label=any(len(picture.labels) > 1 for picture in listed)),
        _fingerprint(chosen),
        validation=len(validation),
    )


def read_listed(path: Path) -> list[Listed]:
    """Return the pictures that a table lists, in its order, without decoding them.

    Raises:
        DataError: See `table`.
    """
    rows = read_rows(path)
    rows.require(*COLUMNS)
    listed = [_listed(path.parent, row) for row in rows.rows]
    if all(len(picture.labels) <= 1 for picture in listed):
        for picture in listed:
            if not picture.labels:
                raise DataError(
                    f"{path.parent / picture.where}: has no label; add one, or remove the row."
                )
    check_unique((picture.path, picture.where) for picture in listed)
    return listed


def picture_file(folder: Path, row: Row, column: str) -> Path:
    """Return the existing file that a row names, relative to `folder` or absolute.

    Raises:
        DataError: The cell is empty, or there is no such file.
    """
    text = row.cells[column]
    if not text:
        raise DataError(
            f"{folder / row.where}: the column {column!r} names no file; name the picture's file."
        )
    for path in (folder / text, folder / text.replace("\\", "/")):
        with contextlib.suppress(OSError, ValueError):  # a text that cannot be a name
            if path.is_file():
                return path
    raise DataError(
        f"{folder / row.where}: there is no file {folder / text}; paths are absolute, or relative "
        f"to the folder of the table."
    )


def labels_of(cell: str) -> tuple[str, ...]:
    """Return the labels that a cell holds, which `SEPARATOR` separates, each once."""
    labels = (label.strip() for label in cell.split(SEPARATOR))
    return tuple(dict.fromkeys(label for label in labels if label))


def check_unique(pictures: Iterable[tuple[Path, str]]) -> None:
    """Check that no two rows name the same file.

    Args:
        pictures: The file that each row names, and the place of the row.

    Raises:
        DataError: Two rows name the same file.
    """
    seen: dict[Path, str] = {}
    for path, where in pictures:
        first = seen.setdefault(path, where)
        if first != where:
            raise DataError(
                f"{where}: names {path}, which {first} names, too; keep one of the rows. Several "
                f"labels of a picture stand in one cell, separated by {SEPARATOR}."
            )


def _listed(folder: Path, row: Row) -> Listed:
    where = folder / row.where
    split = split_of(row.cells["split"])
    if split is None:
        raise DataError(
            f"{where}: the split {row.cells['split']!r} is unknown; there are: "
            f"{', '.join(WRITTEN)}."
        )
    labels = labels_of(row.cells["label"])
    path = picture_file(folder, row, "path")
    digest = row.cells.get("sha256", "")
    if digest and file_digest(path).hex() != digest.lower():
        raise DataError(
            f"{where}: {path} is not the file that the column 'sha256' tells, so it was changed; "
            "restore it, or make the table anew."
        )
    return Listed(path, labels, split, row.where, row.cells)


def _common_classes(path: Path, parts: Mapping[str, list[Listed]]) -> tuple[str, ...]:
    """Return the sorted classes of the training rows, which all other rows must have, too."""
    trained = {label for picture in parts["train"] for label in picture.labels}
    for part, own in parts.items():
        for picture in own:
            unknown = [label for label in picture.labels if label not in trained]
            if unknown:
                raise DataError(
                    f"{path.parent / picture.where}: no row of the split train has the class "
                    f"{unknown[0]!r}, so that a model cannot learn it; add some, or remove this "
                    f"row of the split {part}."
                )
    return tuple(sorted(trained))


def _labels(
    chosen: Sequence[Listed], classes: Sequence[str], *, multi_label: bool
) -> npt.NDArray[np.int64]:
    """Return the labels as `ImageSet.labels` holds them."""
    numbers = {name: number for number, name in enumerate(classes)}
    if not multi_label:
        return np.array([numbers[picture.labels[0]] for picture in chosen], np.int64)
    labels = np.zeros((len(chosen), len(classes)), np.int64)
    for row, picture in zip(labels, chosen, strict=True):
        row[[numbers[label] for label in picture.labels]] = 1
    return labels


def _fingerprint(chosen: Iterable[Listed]) -> str:
    """Return the sha256 of the labels and contents of pictures, wherever their files lie."""
    digest = hashlib.sha256()
    for picture in chosen:
        digest.update(SEPARATOR.join(picture.labels).encode() + b"\0")
        digest.update(file_digest(picture.path))
    return digest.hexdigest()
