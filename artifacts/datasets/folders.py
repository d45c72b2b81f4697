"""Data sets kept as a folder per class (or per person), decoded on demand."""

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts.datasets.base import FileImages, ImageSet, fingerprint_files
from artifacts.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm"}


def image_folder(root: Path, split: str, name: str = "image_folder") -> ImageSet:
    """A folder of class folders; `root/split/CLASS/*` where the split has a folder of its own.

    Raises:
        DataError: no such folder, or no class folder with pictures in it.
    """
    has_splits = any((root / name).is_dir() for name in ("train", "test"))
    base = root / split if has_splits else root
    classes, paths, labels = class_folders(base)
    if not paths:
        raise DataError(
            f"{base}: no pictures found. Expected one folder per class with pictures in it: "
            f"{root}/{split}/CLASS/PICTURE.jpg (or without {split}/)."
        )
    fingerprint = fingerprint_files(paths, base)
    return ImageSet(name, split, classes, FileImages(paths), np.array(labels), fingerprint)


def class_folders(base: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Classes of a folder of class folders, their picture files, and each file's class number.

    All empty where there are no pictures in folders below `base`, or no such folder.
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
    """Files under `folder`, at any depth, that are pictures by their names; sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def other_files(folder: Path) -> list[Path]:
    """Files under `folder`, at any depth, that `picture_files` passes over; sorted, none hidden."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() not in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def stanford_cars(root: Path, split: str) -> ImageSet:
    """Stanford Cars (Krause et al. 2013), 196 classes: `stanford_cars/{train,test}/CLASS/*`.

    Raises:
        DataError: missing, or not 196 classes.
    """
    cars = image_folder(root / "stanford_cars", split, "stanford_cars")
    if len(cars.classes) != 196:  # noqa: PLR2004
        raise DataError(f"{root / 'stanford_cars'}: {len(cars.classes)} classes; 196 are expected.")
    return cars


def faces(root: Path, split: str, collection: str) -> ImageSet:
    """Faces, a folder per person: `faces/COLLECTION/PERSON/*`.

    People, not pictures, are held out: about a fifth of them, chosen by a hash of the folder's
    name, are the test split, and nobody is in both.

    Raises:
        DataError: no such collection, or nobody in the split.
    """
    everybody = image_folder(root / "faces" / collection, "", f"faces/{collection}")
    held_out = [zlib.crc32(person.encode()) % 5 == 0 for person in everybody.classes]
    people = [i for i, out in enumerate(held_out) if out == (split == "test")]
    if not people:
        raise DataError(f"faces/{collection}: too few people to have a {split} split; add more.")
    chosen = everybody.take(np.flatnonzero(np.isin(everybody.labels, people)))
    return replace(
        chosen,
        split=split,
        classes=tuple(everybody.classes[i] for i in people),
        labels=np.searchsorted(people, chosen.labels),
        fingerprint=hashlib.sha256(f"{everybody.fingerprint}:{split}".encode()).hexdigest(),
    )
