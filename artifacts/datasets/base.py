"""What every data set looks like to the rest of the project."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from artifacts.errors import DataError

Picture = npt.NDArray[np.uint8]


def data_root() -> Path:
    """Folder that holds the data sets: `VITRINE_DATA`, default `data/`."""
    return Path(os.environ.get("VITRINE_DATA") or "data")


@dataclass(frozen=True)
class ImageSet:
    """One split of a labelled data set."""

    name: str
    split: str
    classes: tuple[str, ...]
    images: Sequence[Picture] | Picture
    """N pictures, uint8 H x W x 3 RGB; one array N x H x W x 3 where all have one size."""
    labels: npt.NDArray[np.int64]
    """N class numbers."""
    fingerprint: str
    """sha256 over the split's content."""
    synthetic: bool = False

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    def head(self, limit: int | None) -> "ImageSet":
        """The same set cut to `limit` pictures, drawn evenly over it so that classes stay mixed."""
        if limit is None or limit >= len(self):
            return self
        return self.take(spread(len(self), limit))

    def take(self, chosen: npt.NDArray[np.int64]) -> "ImageSet":
        """The pictures at the places `chosen`, in that order; classes stay as they are."""
        return replace(self, images=take(self.images, chosen), labels=self.labels[chosen])


def take(
    images: Sequence[Picture] | Picture, chosen: npt.NDArray[np.int64]
) -> Sequence[Picture] | Picture:
    """The pictures at the places `chosen`, in that order; files are not decoded yet."""
    if isinstance(images, np.ndarray):
        return images[chosen]
    if isinstance(images, FileImages):
        return FileImages([images.paths[i] for i in chosen])
    return [images[i] for i in chosen]


def spread(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """Places of `limit` things drawn evenly over `count`; of all of them where limit is None."""
    limit = count if limit is None else min(limit, count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


class FileImages(Sequence[Picture]):
    """Pictures decoded from files when asked for, never kept.

    Args:
        paths: picture files in any format Pillow reads.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Picture:  # type: ignore[override]
        """Decode picture `index`: uint8 H x W x 3, upright by its EXIF orientation.

        Raises:
            DataError: the file is not a readable picture.
        """
        try:
            with Image.open(self.paths[index]) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{self.paths[index]}: not a readable picture ({error}).") from None


def fingerprint_files(paths: Iterable[Path], root: Path) -> str:
    """sha256 over the names (relative to `root`) and bytes of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
