"""Names of data sets and the function that reads each."""

from collections.abc import Callable
from pathlib import Path

from artifacts.datasets.arrays import cifar10, mnist
from artifacts.datasets.base import ImageSet, data_root
from artifacts.datasets.folders import faces, image_folder, stanford_cars
from artifacts.datasets.synthetic import KINDS, synthetic
from artifacts.errors import DataError

READERS: dict[str, Callable[[Path, str], ImageSet]] = {
    "cifar10": cifar10,
    "mnist": mnist,
    "stanford_cars": stanford_cars,
}
FOLDERS = ("faces", "image_folder")
"""Read from the folder that is named behind them."""
NAMES = (*READERS, *FOLDERS, "synthetic")
HELP = (
    "cifar10:test, mnist:train, stanford_cars:test, faces/celeba:test, image_folder/NAME:train, "
    + ", ".join(f"synthetic/{kind}:test" for kind in KINDS)
)


def parse(text: str) -> tuple[str, str]:
    """Split `name:split` (split defaults to test), such as `cifar10:test`.

    Raises:
        DataError: the name is not known, or lacks or has a part behind `/` that it should not.
    """
    name, _, split = text.partition(":")
    base, _, rest = name.partition("/")
    if base not in NAMES or (base in READERS and rest) or (base in FOLDERS and not rest):
        raise DataError(f"data set {name!r} is unknown; there are: {HELP}.")
    return name, split or "test"


def load(name: str, split: str, root: Path | None = None) -> ImageSet:
    """Read one split of a data set.

    Args:
        name: one of `NAMES`; `faces/COLLECTION`, `image_folder/FOLDER` and `synthetic/KIND`
            say which.
        split: train or test.
        root: folder of the data sets; `data_root()` by default.

    Raises:
        DataError: unknown name or split, or data that is missing, with what to put where.
    """
    root = root or data_root()
    base, _, rest = parse(name)[0].partition("/")
    if split not in ("train", "test"):
        raise DataError(f"split {split!r} of {name} is unknown; there are: train, test.")
    if base == "faces":
        return faces(root, split, rest)
    if base == "image_folder":
        return image_folder(root / rest, split, name)
    if base == "synthetic":
        return synthetic(rest or "objects", split)
    return READERS[base](root, split)
