"""Inspecting a collection: every picture is decoded once, and its faults are listed."""

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.table import Table

from artifacts.datasets.base import file_digest
from artifacts.datasets.folders import SUFFIXES
from artifacts.errors import DataError
from artifacts.pictures import read_picture
from artifacts.progress import Progress
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
    alike: tuple[tuple[int, ...], ...] = ()
    """Groups of indices into `pictures` that look alike but are most of a class, as pictures of a
    fixed camera are. Keeping them together would leave the class without test pictures, so only
    identical files among them count as duplicates."""

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
        """Return what the owner should know: a sentence for each kind of finding."""
        return [
            *self._files(),
            *self._crossing(),
            *self._suspect(),
            *self._classes(),
            *self._sizes(),
        ]

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

    def _files(self) -> Iterator[str]:
        if self.unreadable:
            told = [f"{self.name(path)} ({reason})" for path, reason in self.unreadable]
            yield f"{_count(told, 'file')} cannot be read and will be left out: {_few(told)}"
        formats = [p for p in self.collection.others if p.suffix.lower() not in SUFFIXES]
        if others := [self.name(path) for path in formats]:
            yield (
                f"{_count(others, 'file')} in other formats will be left out: {_few(others)}. "
                f"These are read: {', '.join(sorted(SUFFIXES))}."
            )
        if loose := [self.name(p) for p in self.collection.others if p not in formats]:
            yield f"{_count(loose, 'picture')} without a class will be left out: {_few(loose)}."

    def _crossing(self) -> Iterator[str]:
        crossing = []
        for group in self.duplicates:
            splits = {self.pictures[i].entry.split for i in group} - {None}
            if len(splits) > 1:
                crossing.append(self._names(group))
        if crossing:
            yield (
                f"{_count(crossing, 'group')} of near-duplicates in more than one of your splits, "
                "so that the figures will look better than they are: "
                f"{_few(crossing)}."
            )

    def _suspect(self) -> Iterator[str]:
        suspect = [
            self._names(group)
            for group in self.duplicates
            if len({self.pictures[i].entry.labels for i in group}) > 1
        ]
        if suspect:
            yield (
                f"{_count(suspect, 'group')} of near-duplicates with different labels, one of "
                f"which may be wrong: {_few(suspect)}."
            )
        if self.alike:
            told = [
                f"{len(group):,} pictures like {self._names(group[:1])}" for group in self.alike
            ]
            yield (
                f"Most pictures of a class look nearly the same: {_few(told)}. They are divided as "
                "different pictures; if some show the same thing, state groups in a table."
            )

    def _classes(self) -> Iterator[str]:
        small = [f"{label} ({count})" for label, count in self.counts.items() if count < FEW]
        if small:
            yield (
                f"{_count(small, 'class', 'classes')} with fewer than {FEW} pictures, too few to "
                f"train on and to measure: {_few(small)}."
            )
        largest, smallest = (
            choose(self.counts, key=self.counts.__getitem__) for choose in (max, min)
        )
        if self.counts[largest] > IMBALANCE * self.counts[smallest]:
            yield (
                f"The largest class, {largest}, has {self.counts[largest]:,} pictures and the "
                f"smallest, {smallest}, has {self.counts[smallest]:,}."
            )

    def _sizes(self) -> Iterator[str]:
        tiny = [
            f"{self.name(p.entry.path)} ({p.width}x{p.height})"
            for p in self.pictures
            if min(p.width, p.height) < TINY
        ]
        if tiny:
            yield f"{_count(tiny, 'picture')} smaller than {TINY} pixels: {_few(tiny)}."

    def _names(self, group: Sequence[int]) -> str:
        names = [self.name(self.pictures[i].entry.path) for i in group[:NAMED]]
        more = f" = {len(group) - NAMED:,} more" if len(group) > NAMED else ""
        return " = ".join(names) + more


def inspect(collection: Collection, progress: Progress | None = None) -> Inspection:
    """Decode every picture of a collection once, and find near-duplicates.

    Args:
        collection: What to inspect.
        progress: Where progress is reported; on stderr by default.

    Raises:
        DataError: No picture of a class can be read.
    """
    if progress is None:
        with Progress("inspecting pictures") as own:
            return inspect(collection, own)
    pictures: list[Inspected] = []
    looks: list[Look] = []
    unreadable: list[tuple[Path, str]] = []
    for count, (entry, found) in enumerate(_read_all(collection.entries), 1):
        if isinstance(found, str):
            unreadable.append((entry.path, found))
        else:
            pictures.append(found[0])
            looks.append(found[1])
        total = len(collection.entries)
        progress.update(count / total, f"{count:,} of {total:,}")
    duplicates, alike = _divisible(pictures, near_duplicates(looks))
    inspection = Inspection(
        collection, tuple(pictures), tuple(unreadable), tuple(duplicates), tuple(alike)
    )
    missing = [label for label in collection.classes if label not in inspection.counts]
    if missing:
        raise DataError(
            f"{collection.root}: no picture of the class {missing[0]!r} can be read; add some, or "
            f"remove the class. {inspection.warnings()[0]}"
        )
    return inspection


def _read_all(entries: Sequence[Entry]) -> Iterator[tuple[Entry, tuple[Inspected, Look] | str]]:
    """Yield what `_read` returns for each entry, in order, from as many threads as processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from zip(entries, pool.map(_read, entries), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)  # else an interruption waits for all pictures


def _divisible(
    pictures: Sequence[Inspected], groups: Iterable[tuple[int, ...]]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Separate groups of near-duplicates from groups that are most of a class.

    Returns:
        The groups of near-duplicates, and those that are most of a class. Of the latter, identical
        files are groups of near-duplicates.
    """
    counts = Counter(label for picture in pictures for label in picture.entry.labels)
    duplicates, alike = [], []
    for group in groups:
        own = Counter(label for i in group for label in pictures[i].entry.labels)
        if len(group) < FEW or all(2 * n <= counts[label] for label, n in own.items()):
            duplicates.append(group)
            continue
        files: dict[str, list[int]] = {}
        for i in group:
            files.setdefault(pictures[i].sha256, []).append(i)
        duplicates += [tuple(same) for same in files.values() if len(same) > 1]
        if len(files) > 1:
            alike.append(group)
    return duplicates, alike


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
