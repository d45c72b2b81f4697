"""The pictures of an analysis: a data set or a folder, which is sent to the model in chunks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from artifacts import DataError, datasets
from artifacts.datasets.base import FileImages, spread
from artifacts.datasets.folders import SUFFIXES, class_folders, other_files, picture_files
from artifacts.pictures import Picture
from serving.client.chunks import Source, UnreachableError
from serving.problems import RequestError

UNKNOWN = -1
"""Label of a picture whose class is not known."""
CHUNK_PICTURES = 1024
CHUNK_BYTES = 16_000_000
RETRY_DELAYS = (1, 2, 4, 8, 16)
"""Seconds to wait before each further attempt to reach a server."""
TOO_LARGE = ("body-too-large", "too-many-pixels")
"""Codes of refusals of a whole request. If it has a single picture, that picture is at fault."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Pictures:
    """N named pictures, with or without labels."""

    source: str
    """Name of the set in titles: `cifar10:test`, or the name of the folder."""
    names: Sequence[str]
    """Name of each picture: its index in the data set, or its path relative to the folder."""
    images: Sequence[Path] | npt.NDArray[np.uint8]
    """N files, which are sent unchanged; or N x H x W x 3 RGB."""
    labels: npt.NDArray[np.int64]
    """N class indices, or `UNKNOWN`; all unknown in a multi-label set, see `label_sets`."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty for pictures without labels."""
    label_sets: npt.NDArray[np.int64] | None = None
    """Only of a multi-label set: N x C, 1 where a picture has the class, else 0."""
    synthetic: bool = False
    """Whether the pictures were generated."""
    fingerprint: str | None = None
    """sha256 of the whole split of a data set; None for a folder."""
    passed_over: Sequence[str] = ()
    """Files of the folder whose names do not have an extension of a picture."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Pictures that could not be read or were refused, with the reason."""
    change: Callable[[Picture], Picture] | None = None
    """Function that is applied to each picture before it is sent."""

    def __len__(self) -> int:
        """Number of pictures, including unreadable ones."""
        return len(self.names)

    @classmethod
    def from_dataset(cls, text: str, limit: int | None = None) -> Self:
        """Read `NAME:SPLIT`, or `limit` pictures that are evenly spaced over it.

        Raises:
            DataError: the name or the split is unknown, or data is missing.
        """
        name, split = datasets.parse(text)
        data = datasets.load(name, split)
        part = data.head(limit)
        images: Sequence[Path] | npt.NDArray[np.uint8]
        if isinstance(part.images, FileImages):
            images = part.images.paths
            names = _relative(images, datasets.data_root())
        else:
            images = np.asarray(part.images)
            names = [str(place) for place in spread(len(data), limit)]
        return cls(
            source=f"{name}:{split}",
            names=names,
            images=images,
            labels=np.full(len(part), UNKNOWN) if part.multi_label else part.labels,
            classes=part.classes,
            label_sets=part.labels if part.multi_label else None,
            synthetic=part.synthetic,
            fingerprint=part.fingerprint,
        )

    @classmethod
    def from_folder(cls, folder: Path, limit: int | None = None) -> Self:
        """Read a folder. Its subfolders are classes, unless there are pictures beside them.

        Raises:
            DataError: there are no pictures in the folder.
        """
        files, others = picture_files(folder), _relative(other_files(folder), folder)
        if not files:
            found = f" (there is {others[0]}, and {len(others) - 1} more)" if others else ""
            raise DataError(
                f"{folder}: no pictures found{found}; expected files whose names end in "
                f"{', '.join(sorted(SUFFIXES))}, or one folder of them per class."
            )
        labels = [UNKNOWN] * len(files)
        classes: tuple[str, ...] = ()
        if all(file.parent != folder for file in files):
            classes, files, labels = class_folders(folder)
        chosen = spread(len(files), limit)
        files = [files[place] for place in chosen]
        return cls(
            source=folder.resolve().name,
            names=_relative(files, folder),
            images=files,
            labels=np.array(labels, np.int64)[chosen],
            classes=classes,
            passed_over=others,
        )

    def label(self, index: int) -> str:
        """Return the class name of picture `index`, or an empty string if it is unknown.

        In a multi-label set, the names of all its classes are joined by `|`.
        """
        if self.label_sets is not None:
            return "|".join(self.classes[c] for c in np.flatnonzero(self.label_sets[index]))
        return self.classes[self.labels[index]] if self.labels[index] != UNKNOWN else ""

    def pixels(self, index: int) -> Picture:
        """Return picture `index` as uint8 H x W x 3 RGB, upright, with `change` applied.

        Raises:
            DataError: the picture cannot be read.
        """
        image = self.images[index]
        pixels = FileImages([image])[0] if isinstance(image, Path) else image
        return self.change(pixels) if self.change else pixels

    def ask(
        self, work: str, question: Callable[[list[Source]], Answer]
    ) -> Iterator[tuple[list[int], Answer]]:
        """Ask a question about all pictures, in chunks of bounded size, with a progress bar.

        Pictures that are refused are left out and added to `skipped` with the reason. If the server
        becomes unreachable, the request is repeated for half a minute.

        Args:
            work: description of the work, shown beside the progress bar on stderr.
            question: function that is called with the pictures of a chunk.

        Yields:
            Indices of the pictures of a chunk, and the answer to the question about them.

        Raises:
            DataError: none of the pictures was accepted.
            UnreachableError: the server remained unreachable.
        """
        answered = False
        with _progress() as progress:
            task = progress.add_task(work, total=len(self))
            for indices in self._chunks():
                images = self._read(indices)
                answer = self._answer(images, question)
                if answer is not None:
                    answered = True
                    yield list(images), answer
                progress.update(task, advance=len(indices))
        if not answered:
            raise DataError(
                f"{self.source}: none of the {len(self)} pictures can be used; the reason for the "
                f"first: {next(iter(self.skipped.values()))}"
            )

    def _answer(
        self, images: dict[int, Source], question: Callable[[list[Source]], Answer]
    ) -> Answer | None:
        """Ask, and remove refused pictures from `images`, until the others are answered."""
        while images:
            try:
                return _ask_with_retries(question, list(images.values()))
            except RequestError as error:
                place = 0 if error.code in TOO_LARGE and len(images) == 1 else error.picture
                if place is None:
                    raise
                index = list(images)[place]
                self.skipped[self.names[index]] = error.reason
                del images[index]
        return None

    def _chunks(self) -> Iterator[list[int]]:
        chunk: list[int] = []
        size = 0
        for index, image in enumerate(self.images):
            more = image.stat().st_size if isinstance(image, Path) else image.nbytes
            if chunk and (len(chunk) == CHUNK_PICTURES or size + more > CHUNK_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(index)
            size += more
        if chunk:
            yield chunk

    def _read(self, indices: list[int]) -> dict[int, Source]:
        images: dict[int, Source] = {}
        for index in indices:
            image = self.images[index]
            try:
                if isinstance(image, Path) and not self.change:
                    images[index] = image.read_bytes()
                else:
                    images[index] = self.pixels(index)
            except OSError as error:
                self.skipped[self.names[index]] = str(error.strerror)
            except DataError as error:
                self.skipped[self.names[index]] = str(error)
        return images


def _ask_with_retries(question: Callable[[list[Source]], Answer], images: list[Source]) -> Answer:
    """Ask, and repeat after each of `RETRY_DELAYS` while the server is unreachable."""
    for seconds in RETRY_DELAYS:
        try:
            return question(images)
        except UnreachableError as error:
            click.echo(f"{error} Trying again in {seconds} s.", err=True)
            time.sleep(seconds)
    return question(images)


def _relative(files: Sequence[Path], root: Path) -> list[str]:
    """Return the names of files, relative to `root` where they lie below it."""
    return [
        (file.relative_to(root) if file.is_relative_to(root) else file).as_posix() for file in files
    ]


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
