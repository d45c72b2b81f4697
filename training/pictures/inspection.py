"""Inspecting a collection: every picture is decoded once, and what is wrong is told."""

import os
import statistics
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from artifacts.datasets.base import file_digest
from artifacts.errors import DataError
from artifacts.pictures import read_picture
from training.pictures.collection import Collection, Entry
from training.pictures.duplicates import Look, look_at, near_duplicates

FEW = 5
"""A class with fewer pictures is warned about."""
IMBALANCE = 10
"""So many times the pictures of the smallest class in the largest are warned about."""
TINY = 32
"""Pictures with a shorter side below this are warned about, in pixels."""
NAMED = 5
"""Maximum number of files that a sentence names."""


@dataclass(frozen=True)
class Inspected:
    """A readable picture."""

    entry: Entry
    width: int
    height: int
    """In pixels, as it is shown upright."""
    sha256: str
    """Hexadecimal, of the file's bytes."""
    hash: str
    """Perceptual hash, 64 bits in hexadecimal."""


@dataclass(frozen=True)
class Inspection:
    """What was found in a collection."""

    collection: Collection
    pictures: tuple[Inspected, ...]
    unreadable: tuple[tuple[Path, str], ...]
    """Files that are left out, each with the reason."""
    duplicates: tuple[tuple[int, ...], ...]
    """Groups of indices into `pictures`: copies and near-duplicates of one another."""

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of readable pictures of each class, by its name, sorted by name."""
        labels = Counter(label for picture in self.pictures for label in picture.entry.labels)
        return dict(sorted(labels.items()))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have readable pictures, sorted."""
        return tuple(self.counts)

    def warnings(self) -> list[str]:
        """Return what the owner should know, one sentence for each kind of finding."""
        found = [
            *self._files(),
            *self._crossing(),
            *self._suspect(),
            *self._classes(),
            *self._sizes(),
        ]
        return [sentence for sentence in found if sentence]

    def table(self) -> Table:
        """Return a table of the classes, their counts and the sizes of their pictures."""
        table = Table("class", "pictures", "shorter side: min", "median", "max", box=None)
        sides: dict[str, list[int]] = {label: [] for label in self.counts}
        for picture in self.pictures:
            for label in picture.entry.labels:
                sides[label].append(min(picture.width, picture.height))
        everything = [min(p.width, p.height) for p in self.pictures]
        rows = [*sides.items(), (f"{len(sides)} classes", everything)]
        for label, own in rows:
            middle = round(statistics.median(own))
            table.add_row(label, f"{len(own):,}", str(min(own)), str(middle), str(max(own)))
        return table

    def name(self, path: Path) -> str:
        """Return a picture's path relative to the collection, if it lies there."""
        root = self.collection.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _files(self) -> Iterable[str]:
        if self.unreadable:
            told = [f"{self.name(path)} ({reason})" for path, reason in self.unreadable]
            yield f"{_count(told, 'file')} cannot be read and left out: {_few(told)}."
        if others := [self.name(path) for path in self.collection.others]:
            yield (
                f"{_count(others, 'file')} left out, which have other formats or belong to no "
                f"class: {_few(others)}."
            )

    def _crossing(self) -> Iterable[str]:
        crossing = []
        for group in self.duplicates:
            splits = {self.pictures[i].entry.split for i in group} - {None}
            if len(splits) > 1:
                crossing.append(self._names(group))
        if crossing:
            yield (
                f"{_count(crossing, 'group')} of near-duplicates lie in several of your splits, so "
                f"that figures will look better than they are: {_few(crossing)}."
            )

    def _suspect(self) -> Iterable[str]:
        suspect = [
            self._names(group)
            for group in self.duplicates
            if len({self.pictures[i].entry.labels for i in group}) > 1
        ]
        if suspect:
            yield (
                f"{_count(suspect, 'group')} of near-duplicates have different labels, one of "
                f"which may be wrong: {_few(suspect)}."
            )

    def _classes(self) -> Iterable[str]:
        small = [f"{label} ({count})" for label, count in self.counts.items() if count < FEW]
        if small:
            yield (
                f"{_count(small, 'class', 'classes')} with fewer than {FEW} pictures, too few to "
                f"train and measure: {_few(small)}."
            )
        largest, smallest = (
            choose(self.counts, key=self.counts.__getitem__) for choose in (max, min)
        )
        if self.counts[largest] > IMBALANCE * self.counts[smallest]:
            yield (
                f"The largest class, {largest}, has {self.counts[largest]:,} pictures and the "
                f"smallest, {smallest}, has {self.counts[smallest]:,}."
            )

    def _sizes(self) -> Iterable[str]:
        tiny = [
            f"{self.name(p.entry.path)} ({p.width}x{p.height})"
            for p in self.pictures
            if min(p.width, p.height) < TINY
        ]
        if tiny:
            yield f"{_count(tiny, 'picture')} smaller than {TINY} pixels: {_few(tiny)}."

    def _names(self, group: Iterable[int]) -> str:
        return " = ".join(self.name(self.pictures[i].entry.path) for i in group)


def inspect(collection: Collection, progress: Progress | None = None) -> Inspection:
    """Decode every picture of a collection once, and find near-duplicates.

    Args:
        collection: What to inspect.
        progress: Where progress is shown; a display of its own on stderr by default.

    Raises:
        DataError: A class has no readable picture.
    """
    if progress is None:
        with Progress(console=Console(stderr=True), transient=True) as own:
            return inspect(collection, own)
    task = progress.add_task("inspecting pictures", total=len(collection.entries))
    pictures: list[Inspected] = []
    looks: list[Look] = []
    unreadable: list[tuple[Path, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry, found in zip(
            collection.entries, pool.map(_read, collection.entries), strict=True
        ):
            if isinstance(found, str):
                unreadable.append((entry.path, found))
            else:
                pictures.append(found[0])
                looks.append(found[1])
            progress.advance(task)
    inspection = Inspection(
        collection, tuple(pictures), tuple(unreadable), tuple(near_duplicates(looks))
    )
    missing = [label for label in collection.classes if label not in inspection.counts]
    if missing:
        raise DataError(
            f"{collection.root}: no picture of the class {missing[0]} can be read; "
            f"{inspection.warnings()[0]}"
        )
    return inspection


def _read(entry: Entry) -> tuple[Inspected, Look] | str:
    """Inspect one picture, or return the reason why it cannot be read."""
    try:
        pixels = read_picture(entry.path)
        digest = file_digest(entry.path)
    except (DataError, OSError) as error:
        return str(error).removeprefix(f"{entry.path}: ")
    look = look_at(pixels, digest)
    height, width = pixels.shape[:2]
    return Inspected(entry, width, height, digest.hex(), look.hash.tobytes().hex()), look


def _count(things: list[str], one: str, many: str = "") -> str:
    return f"{len(things):,} {one if len(things) == 1 else many or one + 's'}"


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
