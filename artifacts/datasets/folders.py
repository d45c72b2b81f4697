"""Data sets with a folder per class (or per person), decoded on demand."""

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts.datasets.base import FileImages, ImageSet, fingerprint_files
from artifacts.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm"}


def hidden(path: Path, root: Path) -> bool:
    """Whether a path under `root` is hidden: a part of it starts with a dot or is `__MACOSX`."""
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def no_pictures(base: Path, example: str) -> DataError:
    """Return the error for a folder in which no class folder has pictures."""
    return DataError(
        f"{base}: no pictures found. Expected one folder of pictures per class, such as {example}."
    )


def read_classes(base: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Return what `class_folders` does, but never leave out a class because of its format.

    Raises:
        DataError: No file of a folder that has files is in a format that is read.
    """
    found = class_folders(base)
    for folder in class_subfolders(base):
        others = [] if folder.name in found[0] else other_files(folder)
        if others:
            raise DataError(
                f"{folder}: none of its {len(others)} files is in a format that is read, such as "
                f"{others[0].name}; convert them to one of {', '.join(sorted(SUFFIXES))}, or "
                "remove the folder."
            )
    return found


def class_subfolders(base: Path) -> list[Path]:
    """Return the sorted folders in `base` that are not hidden; none if it does not exist."""
    if not base.is_dir():
        return []
    return sorted(p for p in base.iterdir() if p.is_dir() and not hidden(p, base))


def class_folders(base: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Return the classes of a folder of class folders, the picture files and their class indices.

    Hidden folders are ignored, as `hidden` tells them. All three are empty if `base` does not
    exist or the folders in it contain no pictures.
    """
    classes: list[str] = []
    paths: list[Path] = []
    labels: list[int] = []
    for folder in class_subfolders(base):
        files = picture_files(folder)
        if files:
            paths += files
            labels += [len(classes)] * len(files)
            classes.append(folder.name)
    return tuple(classes), paths, labels


def picture_files(folder: Path) -> list[Path]:
    """Return the sorted files under `folder`, at any depth, with an extension of a picture.

    Hidden files are left out.
    """
    return [file for file in _files(folder) if file.suffix.lower() in SUFFIXES]


def other_files(folder: Path) -> list[Path]:
    """Return the sorted files that `picture_files` ignores, without hidden ones."""
    return [file for file in _files(folder) if file.suffix.lower() not in SUFFIXES]


def _files(folder: Path) -> list[Path]:
    """Return the sorted files under `folder` that are not hidden."""
    return sorted(p for p in folder.rglob("*") if not hidden(p, folder) and p.is_file())


def read_whole(base: Path, split: str, name: str) -> ImageSet:
    """Read a folder of class folders as one split.

    Raises:
        DataError: No class folder has pictures, or one has only files in formats that are not read.
    """
    classes, paths, labels = read_classes(base)
    if not paths:
        raise no_pictures(base, f"{base}/CLASS/PICTURE.jpg")
    fingerprint = fingerprint_files(paths, base)
    return ImageSet(name, split, classes, FileImages(paths), np.array(labels), fingerprint)


def stanford_cars(root: Path, split: str) -> ImageSet:
    """Read Stanford Cars (Krause et al. 2013), 196 classes: `stanford_cars/{train,test}/CLASS/*`.

    The splits are those of its authors, which share some pictures.

    Raises:
        DataError: the data set is missing, or it does not have 196 classes.
    """
    cars = read_whole(root / "stanford_cars" / split, split, "stanford_cars")
    if len(cars.classes) != 196:  # noqa: PLR2004
        raise DataError(f"{root / 'stanford_cars'}: {len(cars.classes)} classes; 196 are expected.")
    return cars


def faces(root: Path, split: str, collection: str) -> ImageSet:
    """Read a collection of faces with a folder per person: `faces/COLLECTION/PERSON/*`.

    The split is by person: about a fifth of the people, chosen by a hash of the folder's name, form
    the test split, and nobody is in both splits.

    Raises:
        DataError: the collection does not exist, or the split has no people.
    """
    everybody = read_whole(root / "faces" / collection, "", f"faces/{collection}")
    held_out = [zlib.crc32(person.encode()) % 5 == 0 for person in everybody.classes]
    people = [i for i, out in enumerate(held_out) if out == (split == "test")]
    if not people:
        raise DataError(
            f"faces/{collection}: too few people, so that the {split} split is empty; add people."
        )
    chosen = everybody.take(np.flatnonzero(np.isin(everybody.labels, people)))
    return replace(
        chosen,
        split=split,
        classes=tuple(everybody.classes[i] for i in people),
        labels=np.searchsorted(people, chosen.labels),
        fingerprint=hashlib.sha256(f"{everybody.fingerprint}:{split}".encode()).hexdigest(),
    )
