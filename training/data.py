"""Data sets as tensors, divided into training and validation pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from artifacts import DataError, InputPolicy
from artifacts.datasets import ImageSet, load
from artifacts.datasets.base import spread, take
from artifacts.faces import Detector, main_face
from artifacts.preprocessing import prepare
from artifacts.progress import track
from training.download import download
from training.settings import Data, Size

CACHE = Path("runs/cache")
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """Labelled pictures of one size."""

    images: Tensor
    """uint8 N x H x W x 3, RGB."""
    labels: Tensor
    """int64 N; float32 N x D if they are embeddings of a teacher."""
    originals: Sequence[Pixels] | Pixels
    """The same pictures in the sizes of the data set, as a user would send them."""
    taught: Tensor | None = None
    """float32 K x N x C: what a teacher that classifies answers to K views of the pictures."""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """Return the pictures at `indices`, in that order."""
        originals = take(self.originals, indices.numpy())
        return Split(self.images[indices], self.labels[indices], originals)


@dataclass(frozen=True)
class Splits:
    """The training and validation pictures of a recipe."""

    train: Split
    validation: Split
    source: ImageSet

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.source.classes


def load_splits(data: Data, seed: int) -> Splits:
    """Read the training split and hold out validation pictures.

    Raises:
        DataError: See `hold_out`; or the pictures have different sizes and `data.size` is not set.
    """
    source, held_out = hold_out(data, seed)
    pixels = torch.from_numpy(as_array(source, data.size, align=data.align))
    labels = torch.from_numpy(source.labels)
    everything = Split(pixels, labels, source.images)
    return Splits(
        train=everything.take(trained_on(data, len(source), held_out)),
        validation=everything.take(held_out),
        source=source,
    )


def hold_out(data: Data, seed: int) -> tuple[ImageSet, Tensor]:
    """Choose the validation pictures without decoding any picture.

    Returns:
        The whole training split, and the indices of its validation pictures. If its owner put
        validation pictures into a folder of their own, they are these, and `data.validation` and
        `data.validation_choice` do not matter.

    Raises:
        DataError: The data is missing, or too small to hold out `data.validation` pictures; or
            they are fewer than the classes of each of which the first ones are held out; or whole
            classes are to be held out, and the owner chose other pictures.
    """
    source = load_or_download(data.name, "train")
    if source.validation:
        if data.validation_choice == "classes":
            raise DataError(
                f"{data.name}: the recipe validates on classes that it does not train on, and the "
                "folder of validation pictures shows the same classes; move them to train."
            )
        return source, torch.arange(len(source) - source.validation, len(source))
    if not 0 < data.validation < len(source):
        raise DataError(
            f"{data.name}: {data.validation} of {len(source)} pictures cannot be held out for "
            "validation; hold out at least one and leave at least one."
        )
    return source, _validation(torch.from_numpy(source.labels), data, seed)


def trained_on(data: Data, count: int, held_out: Tensor) -> Tensor:
    """Return the indices of the pictures to train on, in order.

    Args:
        data: Settings, of which `limit` bounds their number.
        count: Number of pictures of the training split.
        held_out: Indices of its validation pictures.
    """
    rest = torch.ones(count, dtype=torch.bool)
    rest[held_out] = False
    places = rest.nonzero().squeeze(1)
    return places[torch.from_numpy(spread(len(places), data.limit))]


def _validation(labels: Tensor, data: Data, seed: int) -> Tensor:
    """Return the indices of the validation pictures."""
    if data.validation_choice == "last":
        return torch.arange(len(labels) - data.validation, len(labels))
    if data.validation_choice == "first-of-class":
        classes = int(labels.max()) + 1
        each = data.validation // classes
        if not each:
            raise DataError(
                f"{data.name}: {data.validation} validation pictures cannot be divided among "
                f"{classes} classes; ask for {classes} or more."
            )
        return torch.cat([(labels == c).nonzero()[:each, 0] for c in range(classes)])
    generator = torch.Generator().manual_seed(seed)
    if data.validation_choice == "classes":
        drawn = torch.randperm(int(labels.max()) + 1, generator=generator)
        counts = labels.bincount()[drawn].cumsum(0)
        enough = int((counts < data.validation).sum()) + 1
        if enough >= len(drawn):
            raise DataError(
                f"{data.name}: {data.validation} validation pictures would take all classes; ask "
                "for fewer, to leave at least one class to train on."
            )
        return torch.isin(labels, drawn[:enough]).nonzero()[:, 0]
    return torch.randperm(len(labels), generator=generator)[: data.validation]


def load_test(
    name: str, classes: Sequence[str], *, strangers: bool = False, limit: int | None = None
) -> ImageSet:
    """Read the test split.

    Args:
        name: Name of the data set.
        classes: Classes of the training split.
        strangers: Whether no class may be in both splits, as for people; otherwise the classes
            must be the same.
        limit: Maximum number of pictures, evenly spaced in the split; None for all.

    Raises:
        DataError: The data is missing, or its classes are others.
    """
    test = load_or_download(name, "test")
    if strangers:
        both = sorted({*classes} & {*test.classes})
        if both:
            raise DataError(
                f"{name}: {both[0]} is in the training and in the test split; an embedding is "
                "measured on people that it was not trained on. Read them as faces/COLLECTION."
            )
    elif test.classes != tuple(classes):
        raise DataError(
            f"{name}: the training split has {len(classes)} classes and the test split "
            f"{len(test.classes)}, or in another order; give both the same classes."
        )
    return test.head(limit)


def load_or_download(name: str, split: str) -> ImageSet:
    """Read a split; a missing data set is downloaded first if its terms allow it.

    Raises:
        DataError: The data is missing and cannot be downloaded.
    """
    try:
        return load(name, split)
    except DataError:
        if not download(name):
            raise
        return load(name, split)


def as_array(source: ImageSet, size: Size | None, *, align: bool = False) -> Pixels:
    """Return all pictures as one array, uint8 N x H x W x 3.

    Resized pictures are cached under `runs/cache`, with one file per content and size. Files are
    decoded again if the decoder's version has changed.

    Args:
        source: The pictures.
        size: (height, width) in px to which they are resized without keeping their aspect ratio;
            None if they are an array of one size already.
        align: Whether to use the largest face of each picture, aligned; a picture in which no
            face is found is used as it is.

    Raises:
        DataError: `size` is missing for a folder of pictures, or a picture cannot be read.
    """
    images = source.images
    if isinstance(images, np.ndarray) and size in (None, images.shape[1:3]) and not align:
        return images
    if size is None:
        raise DataError(
            f"{source.name}: pictures of different sizes need `data.size` in the recipe."
        )
    name = f"{source.pixels_key[:16]}-{size[0]}x{size[1]}{'-aligned' if align else ''}"
    path = CACHE / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # one process decodes, the others wait
        if not path.exists():
            partial = path.with_suffix(".partial.npy")
            _decode(source, size, partial, align=align)
            partial.rename(path)
    # copy-on-write, although nothing writes to it, because torch warns about read-only memory
    array: Pixels = np.load(path, mmap_mode="c")
    return array


def _decode(source: ImageSet, size: Size, path: Path, *, align: bool) -> None:
    """Write all pictures to `path` as one array, uint8 N x H x W x 3."""
    height, width = size
    policy = InputPolicy(fixed_size=size)
    detector = Detector() if align else None
    shape = (len(source), height, width, 3)
    writable = np.lib.format.open_memmap(path, "w+", dtype=np.uint8, shape=shape)
    for i in track(range(len(source)), f"decoding {source.name}"):
        picture = source.images[i]
        chip = main_face(detector, picture) if detector else None
        writable[i] = prepare(picture if chip is None else chip, policy)
    writable.flush()
