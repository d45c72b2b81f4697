"""The common interface of all data sets."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.pictures import VERSION, read_picture

Picture = npt.NDArray[np.uint8]


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
    """N class indices."""
    fingerprint: str
    """sha256 of the content of the split."""
    synthetic: bool = False
    """Whether the pictures were generated."""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

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
        """Return the pictures with the indices `chosen`, in that order; `classes` is unchanged."""
        return replace(self, images=take(self.images, chosen), labels=self.labels[chosen])


def take(
    images: Sequence[Picture] | Picture, chosen: npt.NDArray[np.int64]
) -> Sequence[Picture] | Picture:
    """Return the pictures with the indices `chosen`, in that order, without decoding files."""
    if isinstance(images, np.ndarray):
        return images[chosen]
    if isinstance(images, FileImages):
        return FileImages([images.paths[i] for i in chosen])
    return [images[i] for i in chosen]


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


def fingerprint_files(paths: Iterable[Path], root: Path) -> str:
    """Return the sha256 of the names (relative to `root`) and contents of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
