"""The names of the data sets and the functions that read them."""

from collections.abc import Callable
from pathlib import Path

from artifacts.datasets.arrays import cifar10, mnist
from artifacts.datasets.base import ImageSet, data_root
from artifacts.datasets.folders import faces, stanford_cars
from artifacts.datasets.image_folder import image_folder
from artifacts.datasets.synthetic import NAMES as KINDS
from artifacts.datasets.synthetic import synthetic
from artifacts.datasets.table import table
from artifacts.errors import DataError

READERS: dict[str, Callable[[Path, str], ImageSet]] = {
    "cifar10": cifar10,
    "mnist": mnist,
    "stanford_cars": stanford_cars,
}
FILES = ("faces", "image_folder", "table")
"""Data sets whose name is followed by `/` and the path of a folder or, for `table`, a file."""
NAMES = (*READERS, *FILES, "synthetic")
HELP = (
    "cifar10:test, mnist:train, stanford_cars:test, faces/celeba:test, image_folder/NAME:train, "
    "table/FILE.csv:test, " + ", ".join(f"synthetic/{kind}:test" for kind in KINDS)
)


def parse(text: str) -> tuple[str, str]:
    """Split `NAME:SPLIT`, such as `cifar10:test`, into both parts; SPLIT is `test` by default.

    Raises:
        DataError: the name is unknown, or a part after `/` is missing or superfluous.
    """
    name, _, split = text.rpartition(":") if ":" in text else (text, "", "")
    _check_name(name)
    return name, split or "test"


def _check_name(name: str) -> None:
    base, _, rest = name.partition("/")
    if base not in NAMES or (base in READERS and rest) or (base in FILES and not rest):
        raise DataError(f"data set {name!r} is unknown; there are: {HELP}.")


def load(name: str, split: str, root: Path | None = None) -> ImageSet:
    """Read one split of a data set.

    Args:
        name: one of `NAMES`. Some take a part after `/`: `faces/COLLECTION`,
            `image_folder/FOLDER`, `table/FILE`, `synthetic/KIND`.
        split: train or test.
        root: folder that contains the data sets; `data_root()` by default.

    Raises:
        DataError: the name or the split is unknown, or data is missing; the message then says
            which files are expected.
    """
    root = root or data_root()
    _check_name(name)
    base, _, rest = name.partition("/")
    if split not in ("train", "test"):
        raise DataError(f"split {split!r} of {name} is unknown; there are: train, test.")
    if base == "faces":
        return faces(root, split, rest)
    if base == "image_folder":
        return image_folder(root / rest, split, name)
    if base == "table":
        return table(root, split, rest, name)
    if base == "synthetic":
        return synthetic(rest or "objects", split)
    return READERS[base](root, split)
