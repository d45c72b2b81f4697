"""The data set `image_folder/NAME`: one's own pictures, in a folder per class."""

from pathlib import Path

import numpy as np

from artifacts.datasets.base import FileImages, ImageSet, file_digest, fingerprint_files
from artifacts.datasets.folders import class_subfolders, no_pictures, read_classes
from artifacts.datasets.splits import LIKE_SPLITS, SPLITS, VALIDATION, check_disjoint
from artifacts.errors import DataError

TEST_SHARE = 5
"""One picture in this many is held out to test."""
Labelled = list[tuple[Path, str]]
"""Picture files, each with the name of its class."""


def image_folder(root: Path, split: str, name: str = "image_folder") -> ImageSet:
    """Read one split of a folder of pictures.

    The folder has the layout `root/{train,test}/CLASS/*` if it has a folder `train` or `test`, else
    `root/CLASS/*`. All splits have the same classes, in sorted order. Beside `train`, a folder
    `validation`, `val` or `valid` holds pictures to validate on: they come last in the training
    split, and `ImageSet.validation` counts them.

    Without `test`, about a fifth of the pictures of each class are the test split. They are chosen
    by a hash of their content, so that copies of a picture stay together and no picture changes
    its split when others are added; except in a class so small that its hashes would leave it
    without a picture in one of the splits.

    No picture may be in two splits. This is checked for these folders alone: published data sets
    are read as they are, and Stanford Cars has some pictures in both of its splits.

    Args:
        root: Folder of the data set.
        split: train or test.
        name: Name of the data set.

    Raises:
        DataError: The split has no pictures; a class has no picture in a format that is read, or
            none to train on, or too few to divide; or two splits share a picture.
    """
    folders = _split_folders(root)
    parts = {part: _pictures(folder) for part, folder in folders.items()}
    classes = _common_classes(parts, folders)
    check_disjoint({part: [path for path, _ in own] for part, own in parts.items()})
    divided = "test" not in parts
    if divided:
        parts["train"], parts["test"] = _divide(parts["train"], folders["train"])
    if not parts.get(split):
        raise no_pictures(folders.get(split, root / split), f"{root}/{split}/CLASS/PICTURE.jpg")
    validation = parts.get("validation", []) if split == "train" else []
    chosen = parts[split] + validation
    paths = [path for path, _ in chosen]
    return ImageSet(
        name,
        split,
        classes,
        FileImages(paths),
        np.array([classes.index(label) for _, label in chosen], np.int64),
        fingerprint_files(paths, root),
        validation=len(validation),
        divided=divided,
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split: train, validation, test; without splits, all is train."""
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if folders:
        validation = [root / name for name in VALIDATION if (root / name).is_dir()]
        if len(validation) > 1:
            raise DataError(
                f"{validation[0]} and {validation[1]}: both hold validation pictures; keep one."
            )
        if validation:
            folders["validation"] = validation[0]
        return folders
    names = sorted(folder.name for folder in class_subfolders(root))
    if len(names) > 1 and {name.lower() for name in names} <= LIKE_SPLITS:
        raise DataError(
            f"{root}: the folders {', '.join(names)} look like splits, not like classes; name them "
            "train, validation and test."
        )
    return {"train": root}


def _pictures(folder: Path) -> Labelled:
    classes, paths, labels = read_classes(folder)
    return [(path, classes[label]) for path, label in zip(paths, labels, strict=True)]


def _common_classes(parts: dict[str, Labelled], folders: dict[str, Path]) -> tuple[str, ...]:
    """Return the sorted classes of all splits; training pictures must show every one of them."""
    of_part = {part: {label for _, label in pictures} for part, pictures in parts.items()}
    classes = sorted(set().union(*of_part.values()))
    for part, own in of_part.items():
        unknown = sorted(own - of_part["train"]) if of_part.get("train") else []
        if unknown:
            raise DataError(
                f"{folders[part] / unknown[0]}: {folders['train']} has no pictures of this class, "
                "so that a model cannot learn it; add some, or remove this folder."
            )
    return tuple(classes)


def _divide(pictures: Labelled, base: Path) -> tuple[Labelled, Labelled]:
    """Divide pictures into a training and a test split by the hash of their content."""
    digests = {path: file_digest(path) for path, _ in pictures}
    tested = {d for d in digests.values() if int.from_bytes(d[:8]) % TEST_SHARE == 0}
    of_class: dict[str, set[bytes]] = {}
    for path, label in pictures:
        of_class.setdefault(label, set()).add(digests[path])
    for own in of_class.values():
        if not own & tested:
            tested.add(min(own))
        elif own <= tested:
            tested.discard(max(own))
    for label, own in of_class.items():
        if not own & tested or own <= tested:
            raise DataError(
                f"{base / label}: too few pictures to hold one out to test ({len(own)} without "
                f"copies); add some, or divide the pictures into {base}/train and {base}/test."
            )
    return (
        [(path, label) for path, label in pictures if digests[path] not in tested],
        [(path, label) for path, label in pictures if digests[path] in tested],
    )
