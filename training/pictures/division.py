"""Dividing a collection into training, validation and test pictures."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.datasets.rows import SEPARATOR
from artifacts.datasets.splits import check_disjoint
from artifacts.datasets.table import read_listed
from artifacts.errors import DataError
from training.pictures.duplicates import join, root
from training.pictures.inspection import NAMED, Inspection

SPLITS = ("train", "validation", "test")
SHARES = {"validation": 0.15, "test": 0.2}
"""Share of the pictures that is divided off into each split."""
FEWEST = {"validation": 4, "test": 2}
"""Number of units from which a class is in each of these splits."""
Ints = npt.NDArray[np.int64]
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

    The owner's splits stay as they are. A split of which the owner has no picture is divided off
    from the training pictures. Near-duplicates and the pictures of a group form a unit, which is
    never divided. A picture without a split joins the owner's pictures of its unit.

    Labels are spread by iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the
    stratification of multi-label data", 2011): the rarest label first, each unit to the split that
    lacks its label most. A class of five units or more is in all splits, of four too, with two in
    train. A class of two or three units has one in test and none in validation, and a class of one
    is only in train. (If pictures have several labels, or groups hold several classes, a split may
    lack a rare class nevertheless.) Classes that a split lacks are listed in `Division.warnings`.

    Args:
        inspection: The pictures.
        seed: Chooses the division. The order of the files has no influence.

    Raises:
        DataError: Identical files lie in two of the owner's splits; or the pictures belong to so
            few units that a split stays empty, or a class has no training picture.
    """
    pictures = inspection.pictures
    owned: dict[str, list[Path]] = {}
    for picture in pictures:
        if picture.entry.split:
            owned.setdefault(picture.entry.split, []).append(picture.entry.path)
    if len(owned) > 1:
        check_disjoint(owned)
    units = _units(inspection)
    splits = [picture.entry.split or "" for picture in pictures]
    free = _settle(units, splits)
    rows = _label_rows(inspection)
    labels = np.array([rows[unit].sum(0) for unit in free], np.int64).reshape(len(free), -1)
    goals = _goals(labels, [split for split in SPLITS[1:] if split not in owned])
    sizes = np.array([len(unit) for unit in free], np.int64)
    assigned = _assign(labels, sizes, goals, np.random.default_rng(seed))
    for unit, split in zip(free, assigned, strict=True):
        for i in unit:
            splits[i] = split
    placed = [
        Placed(p.entry.path, p.entry.labels, split, name, p.sha256)
        for p, split, name in zip(pictures, splits, _unit_names(inspection, units), strict=True)
    ]
    placed.sort(key=lambda p: (SPLITS.index(p.split), p.path))
    division = Division(tuple(placed))
    _check(division, inspection.collection.root)
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


def _label_rows(inspection: Inspection) -> Ints:
    """Return which labels each picture has: N x C."""
    place = {label: column for column, label in enumerate(inspection.classes)}
    rows = np.zeros((len(inspection.pictures), len(place)), np.int64)
    for row, picture in zip(rows, inspection.pictures, strict=True):
        row[[place[label] for label in picture.entry.labels]] = 1
    return rows


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
    labels: Ints, sizes: Ints, goals: dict[str, Ints], rng: np.random.Generator
) -> list[str]:
    """Return the split of each unit, by iterative stratification.

    Args:
        labels: Number of pictures of each unit and class: U x C.
        sizes: Number of pictures of each unit: U.
        goals: Number of pictures of each class that each split should have.
        rng: Decides between units that are alike.
    """
    lacking = {split: goal.copy() for split, goal in goals.items()}
    room = {split: SHARES.get(split, 0.0) * sizes.sum() for split in goals}
    room["train"] = sizes.sum() - sum(room.values())
    assigned = [""] * len(labels)
    left = rng.permutation(len(labels))
    while len(left):
        remaining = (labels[left] > 0).sum(0)
        rarest = int(np.argmin(np.where(remaining, remaining, len(labels) + 1)))
        labelled = bool(remaining[rarest])  # else only pictures without any label are left
        chosen = labels[left, rarest] > 0 if labelled else np.ones(len(left), bool)
        own = left[chosen]
        for unit in own[np.argsort(-sizes[own], kind="stable")]:
            split = max(room, key=lambda s: (labelled and lacking[s][rarest], room[s], s))
            assigned[unit] = split
            lacking[split] -= labels[unit]
            room[split] -= sizes[unit]
        left = left[~chosen]
    _repair(labels, goals, assigned)
    return assigned


def _repair(labels: Ints, goals: dict[str, Ints], assigned: list[str]) -> None:
    """Move units so that no split lacks a class that it should have, where that is possible.

    Units of several labels are placed for the sake of one of them, which may leave a split without
    another. A move takes no class away from the split that a unit leaves.
    """
    counts = {split: np.zeros(labels.shape[1], np.int64) for split in goals}
    for unit, split in enumerate(assigned):
        counts[split] += labels[unit]
    for split, goal in goals.items():
        for label in np.flatnonzero(goal > 0):
            if counts[split][label]:
                continue
            owners = np.flatnonzero(labels[:, label])
            for unit in owners[np.argsort(labels[owners].sum(1), kind="stable")]:
                rest = counts[assigned[unit]] - labels[unit]
                if split == "train" or not ((labels[unit] > 0) & (rest == 0)).any():
                    counts[assigned[unit]] = rest
                    counts[split] += labels[unit]
                    assigned[unit] = split
                    break


def _goals(labels: Ints, wanted: Sequence[str]) -> dict[str, Ints]:
    """Return how many pictures of each class train and the `wanted` splits should have."""
    counts, units = labels.sum(0), (labels > 0).sum(0)
    goals = {
        split: np.where(
            units >= FEWEST[split], np.maximum(np.round(SHARES[split] * counts), 1), 0
        ).astype(np.int64)
        for split in wanted
    }
    return {"train": counts - sum(goals.values(), np.zeros_like(counts)), **goals}


def _unit_names(inspection: Inspection, units: list[list[int]]) -> list[str]:
    """Return the name of each picture's unit: the owner's, if there is one."""
    names = [""] * len(inspection.pictures)
    for number, unit in enumerate(units):
        own = sorted({inspection.pictures[i].entry.group or "" for i in unit} - {""})
        if own or len(unit) > 1:
            for i in unit:
                names[i] = own[0] if own else f"similar-{number}"
    return names


def _check(division: Division, root: Path) -> None:
    """Check that all splits have pictures, and the training split all classes."""
    for split in SPLITS:
        if not any(picture.split == split for picture in division.pictures):
            raise DataError(
                f"{root}: the pictures form so few groups that none is left for the split "
                f"{split}; add pictures, or state the splits yourself."
            )
    for label, count in division.counts("train").items():
        if not count:
            raise DataError(
                f"{root}: the split train has no readable picture of the class {label!r}, so that "
                "a model cannot learn it; add some, or remove the class."
            )


def _warnings(division: Division) -> Iterator[str]:
    for split in SPLITS[1:]:
        missing = [label for label, count in division.counts(split).items() if not count]
        if missing:
            more = f" and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
            yield (
                f"The split {split} has no picture of these classes, so that nothing is measured "
                f"about them there: {', '.join(missing[:NAMED])}{more}."
            )
