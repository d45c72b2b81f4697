"""Dividing a collection into training, validation and test pictures."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.datasets.rows import SEPARATOR
from artifacts.datasets.splits import check_disjoint
from artifacts.datasets.table import read_listed
from artifacts.errors import DataError
from training.pictures.duplicates import join, root
from training.pictures.inspection import Inspection

SPLITS = ("train", "validation", "test")
SHARES = {"validation": 0.15, "test": 0.2}
"""Share of the pictures that is divided off into each split."""
ENOUGH = 5
"""Number of pictures from which a class is in all splits."""
COLUMNS = ("path", "label", "split", "group", "sha256")


@dataclass(frozen=True)
class Placed:
    """A picture in its split."""

    path: Path
    labels: tuple[str, ...]
    split: str
    """train, validation or test."""
    group: str
    """Name of the pictures that must not be divided; empty if it is alone."""
    sha256: str


@dataclass(frozen=True)
class Division:
    """Pictures, each in one split."""

    pictures: tuple[Placed, ...]
    warnings: tuple[str, ...] = ()
    """What the owner should know, in sentences."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted({label for picture in self.pictures for label in picture.labels}))

    def counts(self, split: str) -> dict[str, int]:
        """Return the number of pictures of each class in a split, by its name."""
        found = Counter(x for p in self.pictures if p.split == split for x in p.labels)
        return {label: found[label] for label in self.classes}


def divide(inspection: Inspection, seed: int) -> Division:
    """Divide pictures into training, validation and test splits.

    The owner's splits stay as they are; a split of which the owner has no picture is divided off
    from the training pictures. Near-duplicates and the pictures of a group, which make a unit,
    come into one split. Labels are spread by iterative stratification (Sechidis, Tsoumakas and
    Vlahavas, "On the stratification of multi-label data", 2011): the rarest label first, each unit
    to the split that lacks its label most.

    A class of five units or more is in all splits. One of four has two, one and one, one of two or
    three has one to test and none to validate, and one of one unit is only trained on.

    Args:
        inspection: The pictures.
        seed: Another seed makes another division; the order of the files makes none.

    Raises:
        DataError: Byte-identical pictures lie in two of the owner's splits; or the pictures belong
            to so few units that a split stays empty.
    """
    pictures = inspection.pictures
    owned: dict[str, list[Path]] = {}
    for picture in pictures:
        if picture.entry.split:
            owned.setdefault(picture.entry.split, []).append(picture.entry.path)
    if owned:
        check_disjoint(owned)
    units = _units(inspection)
    splits = [picture.entry.split or "" for picture in pictures]
    wanted = [split for split in SPLITS[1:] if split not in owned]
    free = _settle(units, splits)
    classes = inspection.classes
    rows = np.array([[c in p.entry.labels for c in classes] for p in pictures], np.int64)
    _assign(free, rows, splits, wanted, np.random.default_rng(seed))
    names = _group_names(inspection, units)
    placed = [
        Placed(p.entry.path, p.entry.labels, split, name, p.sha256)
        for p, split, name in zip(pictures, splits, names, strict=True)
    ]
    for split in SPLITS:
        if split not in splits:
            raise DataError(
                f"{inspection.collection.root}: the pictures belong to so few groups that none is "
                f"left for the split {split}; add pictures, or divide them yourself."
            )
    division = Division(tuple(sorted(placed, key=lambda p: (SPLITS.index(p.split), p.path))))
    return Division(division.pictures, tuple(_warnings(division)))


def write_table(division: Division, path: Path) -> None:
    """Write a division as CSV with the columns `COLUMNS`, whole or not at all.

    Paths are relative to the table's folder if the pictures lie below it, else absolute.
    """
    folder = path.parent.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for picture in division.pictures:
            full = picture.path.absolute()
            told = full.relative_to(folder) if full.is_relative_to(folder) else full
            writer.writerow(
                (
                    told.as_posix(),
                    SEPARATOR.join(picture.labels),
                    picture.split,
                    picture.group,
                    picture.sha256,
                )
            )
    partial.replace(path)


def read_table(path: Path) -> Division:
    """Read what `write_table` wrote.

    Raises:
        DataError: The table cannot be read, or a picture is missing or has changed.
    """
    return Division(
        tuple(
            Placed(p.path, p.labels, p.split, p.cells.get("group", ""), p.cells.get("sha256", ""))
            for p in read_listed(path)
        )
    )


def _units(inspection: Inspection) -> list[list[int]]:
    """Return the pictures that must not be divided, in an order that only their names decide."""
    pictures = inspection.pictures
    parents = list(range(len(pictures)))
    first: dict[str, int] = {}
    for index, picture in enumerate(pictures):
        if picture.entry.group:
            join(parents, index, first.setdefault(picture.entry.group, index))
    for group in inspection.duplicates:
        for index in group[1:]:
            join(parents, group[0], index)
    units: dict[int, list[int]] = {}
    for index in sorted(range(len(pictures)), key=lambda i: pictures[i].entry.path.as_posix()):
        units.setdefault(root(parents, index), []).append(index)
    return list(units.values())


def _settle(units: list[list[int]], splits: list[str]) -> list[list[int]]:
    """Put undecided pictures to those of their unit that the owner placed.

    Returns:
        The units that are still free: those without a place, or of training pictures alone.
    """
    free = []
    for unit in units:
        own = {splits[i] for i in unit} - {""}
        if own <= {"train"}:
            free.append(unit)
            continue
        for i in unit:
            splits[i] = splits[i] or min(own, key=SPLITS.index)
    return free


def _assign(
    units: list[list[int]],
    rows: npt.NDArray[np.int64],
    splits: list[str],
    wanted: Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Assign units to train and the `wanted` splits, by iterative stratification."""
    labels = np.array([rows[unit].sum(0) for unit in units])  # (units, classes)
    goals = _goals(labels, wanted)
    lacking = {split: goal.astype(np.float64) for split, goal in goals.items()}
    order = rng.permutation(len(units))
    left = np.ones(len(units), bool)
    remaining = (labels > 0).sum(0)
    while left.any():
        rarest = int(np.argmin(np.where(remaining > 0, remaining, np.iinfo(np.int64).max)))
        own = [u for u in order if left[u] and (labels[u, rarest] or not remaining.any())]
        own.sort(key=lambda u: -labels[u].sum())
        for u in own:
            choice = max(
                lacking, key=lambda s: (lacking[s][rarest], lacking[s].sum(), s == "train")
            )
            for i in units[u]:
                splits[i] = choice
            lacking[choice] -= labels[u]
            left[u] = False
            remaining -= labels[u] > 0


def _goals(
    labels: npt.NDArray[np.int64], wanted: Sequence[str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Return how many pictures of each class each split should have."""
    counts, units = labels.sum(0), (labels > 0).sum(0)
    goals = {}
    for split in wanted:
        goal = np.maximum(np.round(SHARES[split] * counts), 1).astype(np.int64)
        few = {"test": 2, "validation": 4}[split]
        goals[split] = np.where(units >= few, goal, 0)
    return {"train": counts - sum(goals.values(), np.zeros_like(counts)), **goals}


def _group_names(inspection: Inspection, units: list[list[int]]) -> list[str]:
    """Return the name of each picture's unit: the owner's, if there is one."""
    names = [""] * len(inspection.pictures)
    for number, unit in enumerate(units):
        own = sorted({inspection.pictures[i].entry.group or "" for i in unit} - {""})
        if own or len(unit) > 1:
            for i in unit:
                names[i] = own[0] if own else f"similar-{number}"
    return names


def _warnings(division: Division) -> list[str]:
    found = []
    for split in SPLITS[1:]:
        missing = [label for label, count in division.counts(split).items() if not count]
        if missing:
            found.append(
                f"The split {split} has no pictures of {len(missing)} classes, which have too few: "
                f"{', '.join(missing[:5])}{' and more' if len(missing) > 5 else ''}."  # noqa: PLR2004
            )
    return found
