"""CIFAR-10 and MNIST: data sets of small pictures, read into one array."""

import hashlib
import math
import pickle
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.datasets.base import ImageSet
from artifacts.errors import DataError

CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# MD5 sums published with the data set (Krizhevsky 2009), which torchvision checks, too
CIFAR10_FILES = {
    "train": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
}
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def cifar10(root: Path, split: str) -> ImageSet:
    """Read CIFAR-10 (Krizhevsky 2009): 50,000 training or 10,000 test pictures of 32 x 32.

    Raises:
        DataError: a file is missing or differs from the official one.
    """
    images, labels, digest = [], [], hashlib.sha256()
    for name, md5 in CIFAR10_FILES[split].items():
        path = root / CIFAR10_FOLDER / name
        content = _read(path, "the folder of cifar-10-python.tar.gz")
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{path}: not the official CIFAR-10 file; replace it with that one.")
        digest.update(content)
        batch = pickle.loads(content, encoding="bytes")  # noqa: S301  the MD5 proves its content
        images.append(batch[b"data"])
        labels.append(np.array(batch[b"labels"], np.int64))
    planes = np.concatenate(images).reshape(-1, 3, 32, 32)
    pictures = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))  # (N, 32, 32, 3)
    return ImageSet(
        "cifar10", split, CIFAR10_CLASSES, pictures, np.concatenate(labels), digest.hexdigest()
    )


def mnist(root: Path, split: str) -> ImageSet:
    """Read MNIST (LeCun, Cortes): 60,000 training or 10,000 test digits of 28 x 28.

    The grey values are repeated in R, G and B.

    Raises:
        DataError: a file is missing or not in IDX format.
    """
    digest = hashlib.sha256()
    arrays = []
    for name, rank in zip(MNIST_FILES[split], (3, 1), strict=True):
        path = root / "MNIST" / "raw" / name
        content = _read(path, "the four unzipped *-ubyte files")
        digest.update(content)
        arrays.append(_idx(content, rank, path))
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"{root / 'MNIST'}: {len(images)} pictures but {len(labels)} labels; replace the files "
            "with the official ones."
        )
    pictures = np.repeat(images[..., None], 3, axis=3)  # (N, 28, 28, 3)
    classes = tuple(str(digit) for digit in range(10))
    return ImageSet("mnist", split, classes, pictures, labels.astype(np.int64), digest.hexdigest())


def _idx(content: bytes, rank: int, path: Path) -> npt.NDArray[np.uint8]:
    """Parse an IDX file: the magic bytes (0, 0, 8 for uint8, rank), big-endian sizes, values."""
    start = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", content[4:start].ljust(4 * rank, b"\0"))
    if content[:4] != bytes((0, 0, 8, rank)) or len(content) != start + math.prod(shape):
        raise DataError(
            f"{path}: not an unzipped IDX file of bytes with {rank} axes, or truncated; "
            "unzip the official file here."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise DataError(
            f"{path}: missing. Put {what} there, or set VITRINE_DATA to the folder that contains "
            "the data sets; `vitrine train download` gets those that are freely available."
        ) from None
