"""The common interface of all data sets."""

import functools
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.pictures import VERSION, Picture, read_picture

RECENT = 10 * 10**9
"""Age in ns below which a changed file may change again without a later time of modification: file
systems count in steps of up to two seconds."""


def data_root() -> Path:
    """Return the folder that contains the data sets: `VITRINE_DATA`, or `data/` by default."""
    return Path(os.environ.get("VITRINE_DATA") or "data")


@dataclass(frozen=True)
class ImageSet:
    """One split of a labelled data set."""

    name: str
    split: str
    classes: tuple[str, ...]
    images: Sequence[Picture] | Picture
    """N pictures, uint8 H x W x 3 RGB; one array N x H x W x 3 if all have the same size."""
    labels: npt.NDArray[np.int64]
    """N class indices. Of a multi-label set, N x C: 1 where a picture has the class, else 0."""
    fingerprint: str
    """sha256 of the content of the split."""
    synthetic: bool = False
    """Whether the pictures were generated."""
    validation: int = 0
    """Number of pictures at the end of a training split that its owner chose to validate on; 0 if
    the owner chose none."""
    divided: bool = False
    """Whether the data set has no test split of its own, so that its pictures were divided into a
    training and a test split as they were read."""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have several classes or none, instead of exactly one."""
        return self.labels.ndim > 1

    @property
    def pixels_key(self) -> str:
        """A key for what is computed from the pixels and cached: sha256, hexadecimal.

        It is the fingerprint, together with the version of the decoder where pictures are files.
        """
        if not isinstance(self.images, FileImages):
            return self.fingerprint
        return hashlib.sha256(f"{self.fingerprint} decoder {VERSION}".encode()).hexdigest()

    def head(self, limit: int | None) -> "ImageSet":
        """Return at most `limit` pictures, evenly spaced so that the classes stay mixed."""
        if limit is None or limit >= len(self):
            return self
        return self.take(spread(len(self), limit))

    def take(self, chosen: npt.NDArray[np.int64]) -> "ImageSet":
        """Return the pictures with the indices `chosen`, in that order; `classes` is unchanged.

        The owner's choice of validation pictures, `validation`, is lost.
        """
        images = take(self.images, chosen)
        return replace(self, images=images, labels=self.labels[chosen], validation=0)


def take(
    images: Sequence[Picture] | Picture, chosen: npt.NDArray[np.int64]
) -> Sequence[Picture] | Picture:
    """Return the pictures with the indices `chosen`, in that order, without decoding files."""
    if isinstance(images, np.ndarray):
        return images[chosen]
    if isinstance(images, FileImages):
        return FileImages([images.paths[i] for i in chosen])
    if isinstance(images, list):
        return [images[i] for i in chosen]
    return Chosen(images, chosen)


class Chosen(Sequence[Picture]):
    """Some pictures of a sequence that makes each of them when it is asked for.

    Args:
        images: pictures.
        chosen: indices of some of them, in any order.
    """

    def __init__(self, images: Sequence[Picture], chosen: npt.NDArray[np.int64]) -> None:
        self.images, self.chosen = images, chosen

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.chosen)

    def __getitem__(self, index: int) -> Picture:  # type: ignore[override]
        """Return picture `index`."""
        return self.images[int(self.chosen[index])]


def spread(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """Return `limit` evenly spaced indices below `count`, or all indices if `limit` is None."""
    limit = count if limit is None else min(limit, count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


class FileImages(Sequence[Picture]):
    """Pictures that are decoded from their files at each access, without caching.

    Args:
        paths: picture files in the formats of `artifacts.pictures.FORMATS`.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Picture:  # type: ignore[override]
        """Decode picture `index` to uint8 H x W x 3 RGB, exactly as the server does.

        Raises:
            DataError: the file is not a readable picture; the message names it.
        """
        return read_picture(self.paths[index])


def file_digest(path: Path) -> bytes:
    """Return the sha256 of a file's content, which is remembered until the file changes."""
    state = path.stat()
    if time.time_ns() - state.st_mtime_ns < RECENT:
        return hashlib.sha256(path.read_bytes()).digest()
    return _file_digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=1_000_000)
def _file_digest(path: Path, _size: int, _modified: int) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def fingerprint_files(paths: Iterable[Path], root: Path) -> str:
    """Return the sha256 of the names (relative to `root`) and contents of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(file_digest(path))
    return digest.hexdigest()
