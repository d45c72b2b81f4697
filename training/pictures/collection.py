"""Pictures and their labels, found in a folder or a table, without decoding any picture."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from artifacts.datasets.folders import (
    class_subfolders,
    hidden,
    no_pictures,
    other_files,
    picture_files,
    read_classes,
)
from artifacts.datasets.rows import SEPARATOR, TABLES, Row, Rows, read_rows
from artifacts.datasets.splits import WRITTEN, split_of
from artifacts.datasets.table import check_unique, labels_of, picture_file
from artifacts.errors import DataError

METADATA = tuple(f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet"))
"""Names of a table that lies beside its pictures, as in folders of Hugging Face."""
PATHS = ("path", "file_name", "filename", "image", "file")
LABELS = ("label", "labels", "class", "category", "target")
SPLIT = ("split",)
GROUPS = ("group", "person", "patient", "subject", "object", "source")
"""Names that a column may have in any case. Pictures of one group stay in one split."""


@dataclass(frozen=True)
class Entry:
    """One picture."""

    path: Path
    labels: tuple[str, ...]
    """Names of its classes: one, or any number in a collection with several labels."""
    split: str | None
    """train, validation or test if the owner chose its split; else None."""
    group: str | None
    """Name of the owner's group, whose pictures belong into one split; None if there is none."""


@dataclass(frozen=True)
class Collection:
    """Pictures of one's own, with their labels."""

    root: Path
    """The folder, or the folder of the table."""
    entries: tuple[Entry, ...]
    kind: str
    """How the labels were found: folders, splits (folders of them), metadata or table."""
    others: tuple[Path, ...]
    """Files that are left out: those in other formats, and those outside of class folders."""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted({label for entry in self.entries for label in entry.labels}))

    @cached_property
    def multi_label(self) -> bool:
        """Whether some picture has several labels, or none."""
        return any(len(entry.labels) != 1 for entry in self.entries)


def read_collection(source: Path) -> Collection:
    """Find the pictures and labels of a folder or a table.

    Four layouts are read:

    - a folder with a folder of pictures per class;
    - a folder of the splits train, val (or validation, valid, dev) and test, or some of them, each
      with a folder per class;
    - a folder with `metadata.csv`, `metadata.jsonl` or `metadata.parquet`, or splits with one each;
    - a table: CSV, TSV, JSON Lines or Parquet.

    A table has a column of files (one of `PATHS`), one of labels (one of `LABELS`), and may have a
    column `split` and one of groups (one of `GROUPS`). Several labels of a picture stand in one
    cell, separated by `|`; a cell may be empty only if another row has several.

    Raises:
        DataError: There is no such source; a table is malformed, or a row names a file that does
            not exist; there are fewer than two classes; a folder of a class is empty, or has only
            files in other formats; folders of splits and of classes lie side by side; or the split
            train is missing, or lacks a class of another split.
    """
    if source.is_dir():
        collection = _read_folder(source)
    elif source.is_file():
        if source.suffix.lower() not in TABLES:
            raise DataError(
                f"{source}: is neither a folder of pictures nor a table, whose name ends in "
                f"{', '.join(TABLES)}; unpack an archive first."
            )
        entries = _read_table(source, None)
        collection = Collection(source.parent, tuple(entries), "table", ())
    else:
        near = difflib.get_close_matches(source.name, _names_beside(source), n=1)
        hint = f"; did you mean {source.parent / near[0]}?" if near else "; check the name."
        raise DataError(f"{source}: there is no such folder or table{hint}")
    _check_classes(source, collection)
    return collection


def _names_beside(source: Path) -> list[str]:
    return [p.name for p in source.parent.iterdir()] if source.parent.is_dir() else []


def _read_folder(root: Path) -> Collection:
    if metadata := _metadata(root):
        entries = _read_table(metadata, None)
        return Collection(root, tuple(entries), "metadata", _not_listed(root, entries))
    folders = class_subfolders(root)
    splits = {folder: split for folder in folders if (split := _split_of_folder(folder))}
    if not splits:
        entries, others = _read_class_folders(root, None)
        return Collection(root, tuple(entries), "folders", tuple(others))
    mixed = [folder for folder in folders if folder not in splits and picture_files(folder)]
    if mixed:
        raise DataError(
            f"{root}: the folder {next(iter(splits)).name} holds a split and {mixed[0].name} does "
            "not; move each class into train, or rename the folder if it is a class."
        )
    return _read_split_folders(root, splits)


def _read_split_folders(root: Path, splits: dict[Path, str]) -> Collection:
    names = list(splits.values())
    for folder, split in splits.items():
        if names.count(split) > 1:
            both = [other.name for other, own in splits.items() if own == split]
            raise DataError(
                f"{root}: the folders {' and '.join(both)} hold the same split; merge them."
            )
        if not any(picture_files(folder)):
            raise no_pictures(folder, f"{folder}/CLASS/PICTURE.jpg")
    if "train" not in names:
        raise DataError(
            f"{root}: has a folder {next(iter(splits)).name} but none called train; add it, with a "
            "folder per class."
        )
    entries: list[Entry] = []
    others = [path for path in sorted(root.iterdir()) if path.is_file() and not hidden(path, root)]
    for folder, split in splits.items():
        if metadata := _metadata(folder):
            own = _read_table(metadata, split)
            entries += own
            others += _not_listed(folder, own)
        else:
            found, left = _read_class_folders(folder, split)
            entries += found
            others += left
    return Collection(root, tuple(entries), "splits", tuple(others))


def _split_of_folder(folder: Path) -> str | None:
    """Return the split that a folder holds; None if its name means none, or it holds pictures.

    A folder `train` with pictures but no folders in it is a class: of locomotives, perhaps.
    """
    split = split_of(folder.name)
    if split and not _metadata(folder) and not class_subfolders(folder):
        return None
    return split


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _not_listed(root: Path, entries: Iterable[Entry]) -> tuple[Path, ...]:
    """Return the files under a folder that its metadata does not list."""
    listed = {entry.path for entry in entries}
    files = [*picture_files(root), *other_files(root)]
    return tuple(f for f in files if f not in listed and f.name not in METADATA)


def _read_class_folders(root: Path, split: str | None) -> tuple[list[Entry], list[Path]]:
    """Return the pictures of a folder of class folders, and the files that are left out."""
    folders = class_subfolders(root)
    if folders and all(split_of(folder.name) for folder in folders):
        names = ", ".join(folder.name for folder in folders)
        raise DataError(
            f"{root}: the folders {names} look like splits, not like classes; put the pictures of "
            f"each into folders of classes, such as {folders[0]}/CLASS/PICTURE.jpg."
        )
    classes, paths, labels = read_classes(root)
    if not paths:
        raise no_pictures(root, f"{root}/CLASS/PICTURE.jpg")
    others = [path for path in sorted(root.iterdir()) if path.is_file() and not hidden(path, root)]
    for folder in folders:
        if folder.name not in classes:
            raise DataError(f"{folder}: the folder is empty; add pictures, or remove it.")
        if SEPARATOR in folder.name:
            raise DataError(
                f"{folder}: {SEPARATOR} separates labels in tables; rename the folder without it."
            )
        others += other_files(folder)
    return [
        Entry(path, (classes[label],), split, None)
        for path, label in zip(paths, labels, strict=True)
    ], others


def _read_table(path: Path, split: str | None) -> list[Entry]:
    """Return the pictures that a table lists; `split` is that of its folder, if it has one."""
    rows = read_rows(path)
    file, label = _column(rows, PATHS, "files"), _column(rows, LABELS, "labels")
    if file is None or label is None:
        missing, known = ("files", PATHS) if file is None else ("labels", LABELS)
        near = [c for c in rows.columns if difflib.get_close_matches(c.lower(), known, n=1)]
        hint = f"; is it {near[0]!r}? Rename it" if near else ""
        raise DataError(
            f"{path}: no column of {missing} (called {', '.join(known)}){hint}. "
            f"There are: {', '.join(rows.columns)}."
        )
    split_column, group = _column(rows, SPLIT, "splits"), _column(rows, GROUPS, "groups")
    several = any(len(labels_of(row.cells[label])) > 1 for row in rows.rows)
    entries = []
    for row in rows.rows:
        labels = labels_of(row.cells[label])
        if not labels and not several:
            raise DataError(f"{path.parent / row.where}: has no label; add one, or remove the row.")
        own = _split(path, row, split_column) if split_column else None
        entries.append(
            Entry(
                picture_file(path.parent, row, file),
                labels,
                split or own,
                (row.cells[group] or None) if group else None,
            )
        )
    places = (row.where for row in rows.rows)
    check_unique((e.path, where) for e, where in zip(entries, places, strict=True))
    return entries


def _column(rows: Rows, names: Sequence[str], what: str) -> str | None:
    """Return the column that has one of these names in any case; None if none has."""
    found = [column for column in rows.columns if column.lower() in names]
    if len(found) > 1:
        raise DataError(
            f"{rows.path}: {' and '.join(found)} may each be the column of {what}; rename "
            "or remove all but one."
        )
    return found[0] if found else None


def _split(path: Path, row: Row, column: str) -> str | None:
    text = row.cells[column]
    split = split_of(text)
    if text and split is None:
        raise DataError(
            f"{path.parent / row.where}: the split {text!r} is unknown; there are: "
            f"{', '.join(WRITTEN)}. Leave the cells empty to have the pictures divided."
        )
    return split


def _check_classes(source: Path, collection: Collection) -> None:
    """Check that there are two classes, and that the training split has all of them."""
    classes = collection.classes
    if len(classes) < 2:  # noqa: PLR2004
        inner = source / classes[0] if classes else source
        hint = (
            f"; if the classes are the folders in {inner}, name that folder"
            if (source.is_dir() and inner.is_dir() and class_subfolders(inner))
            else ""
        )
        raise DataError(
            f"{source}: {len(classes)} class{'' if len(classes) == 1 else 'es'} found"
            f"{' (' + classes[0] + ')' if classes else ''}; at least two are needed{hint}."
        )
    splits = {entry.split for entry in collection.entries}
    if splits & {"validation", "test"} and not splits & {"train", None}:
        raise DataError(f"{source}: no picture has the split train; add some.")
    trained = {c for e in collection.entries if e.split in ("train", None) for c in e.labels}
    for entry in collection.entries:
        unknown = [label for label in entry.labels if label not in trained]
        if unknown:
            raise DataError(
                f"{entry.path}: the split train has no picture of the class {unknown[0]!r}, so "
                f"that a model cannot learn it; add some, or remove it from {entry.split}."
            )
