"""Data sets with a folder per class (or per person), decoded on demand."""

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts.datasets.base import FileImages, ImageSet, fingerprint_files
from artifacts.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm"}


def image_folder(root: Path, split: str, name: str = "image_folder") -> ImageSet:
    """Read `root/split/CLASS/*` if `root` has a folder `train` or `test`, else `root/CLASS/*`.

    Raises:
        DataError: the folder does not exist, or no class folder in it contains pictures.
    """
    has_splits = any((root / name).is_dir() for name in ("train", "test"))
    base = root / split if has_splits else root
    classes, paths, labels = class_folders(base)
    if not paths:
        raise DataError(
            f"{base}: no pictures found. Expected one folder of pictures per class, such as "
            f"{root}/{split}/CLASS/PICTURE.jpg, or the same without {split}/."
        )
    fingerprint = fingerprint_files(paths, base)
    return ImageSet(name, split, classes, FileImages(paths), np.array(labels), fingerprint)


def class_folders(base: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Return the classes of a folder of class folders, the picture files and their class indices.

    All three are empty if `base` does not exist or the folders in it contain no pictures.
    """
    folders = sorted(p for p in base.iterdir() if p.is_dir()) if base.is_dir() else []
    classes: list[str] = []
    paths: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        files = picture_files(folder)
        if files:
            paths += files
            labels += [len(classes)] * len(files)
            classes.append(folder.name)
    return tuple(classes), paths, labels


def picture_files(folder: Path) -> list[Path]:
    """Return the sorted files under `folder`, at any depth, with an extension of a picture."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def other_files(folder: Path) -> list[Path]:
    """Return the sorted files that `picture_files` ignores, without hidden ones."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() not in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def stanford_cars(root: Path, split: str) -> ImageSet:
    """Read Stanford Cars (Krause et al. 2013), 196 classes: `stanford_cars/{train,test}/CLASS/*`.

    Raises:
        DataError: the data set is missing, or it does not have 196 classes.
    """
    cars = image_folder(root / "stanford_cars", split, "stanford_cars")
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
    everybody = image_folder(root / "faces" / collection, "", f"faces/{collection}")
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
