"""Generated pictures in the sizes of the real data sets, so that everything runs without downloads.

A class is a coloured layout of soft blobs that depends only on the kind and the class. A picture is
the layout of its class, shifted, brightened or darkened, and covered with noise. A small network
learns the classes in seconds; its accuracy has no other meaning.
"""

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artifacts.datasets.arrays import CIFAR10_CLASSES
from artifacts.datasets.base import ImageSet
from artifacts.datasets.shapes import shapes
from artifacts.errors import DataError

GENERATOR_VERSION = 1


@dataclass(frozen=True)
class Kind:
    """One family of generated pictures."""

    classes: tuple[str, ...]
    side: int
    """Width and height in pixels."""
    train: int
    """Number of pictures in the training split."""
    test: int
    """Number of pictures in the test split."""
    grey: bool = False
    strangers: tuple[str, ...] = ()
    """Classes of the test split if it differs: people of the test split must not be in training."""

    def split_classes(self, split: str) -> tuple[str, ...]:
        """Return the classes of a split."""
        return self.strangers or self.classes if split == "test" else self.classes


KINDS = {
    "objects": Kind(CIFAR10_CLASSES, 32, 1000, 500),
    "digits": Kind(tuple("0123456789"), 28, 1000, 500, grey=True),
    "cars": Kind(tuple(f"car {i:03d}" for i in range(196)), 64, 1960, 392),
    "people": Kind(
        tuple(f"person {i:02d}" for i in range(40)),
        112,
        400,
        200,
        strangers=tuple(f"person {i:02d}" for i in range(40, 60)),
    ),
}

NAMES = (*KINDS, "shapes")
"""All kinds. `shapes` is the only one whose pictures may have several classes or none."""


def synthetic(kind: str, split: str) -> ImageSet:
    """Generate one split, with the same bytes at every call.

    Raises:
        DataError: the kind is unknown.
    """
    if kind == "shapes":
        return shapes(split)
    if kind not in KINDS:
        raise DataError(f"synthetic/{kind} is unknown; there are: {', '.join(NAMES)}.")
    spec = KINDS[kind]
    count = spec.train if split == "train" else spec.test
    seed = zlib.crc32(f"{kind}:{split}:{GENERATOR_VERSION}".encode())
    random = np.random.default_rng(seed)
    classes = spec.split_classes(split)
    known = spec.classes + spec.strangers
    labels = np.arange(count) % len(classes)
    layouts = np.stack([_layout(kind, known.index(name), spec) for name in classes])
    images = np.stack([_picture(layouts[label], random) for label in labels])
    setting = f"synthetic/{kind}:{split}:{GENERATOR_VERSION}:{spec}"
    return ImageSet(
        f"synthetic/{kind}",
        split,
        classes,
        images,
        labels.astype(np.int64),
        hashlib.sha256(setting.encode()).hexdigest(),
        synthetic=True,
    )


def _layout(kind: str, number: int, spec: Kind) -> npt.NDArray[np.float64]:
    """Draw three soft blobs on a plain background: side x side x 3, 0..1."""
    random = np.random.default_rng(zlib.crc32(f"{kind}/{number}".encode()))
    axis = np.linspace(0, 1, spec.side)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    picture = np.broadcast_to(random.uniform(0.2, 0.8, 3), (spec.side, spec.side, 3))
    for _ in range(3):
        centre, width = random.uniform(0.2, 0.8, 2), random.uniform(0.1, 0.25)
        weight = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))[..., None]
        picture = picture * (1 - weight) + weight * random.uniform(0, 1, 3)
    return picture.mean(axis=2, keepdims=True).repeat(3, axis=2) if spec.grey else picture


def _picture(layout: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    reach = max(1, len(layout) // 10)
    dy, dx = random.integers(-reach, reach + 1, 2)
    moved = np.roll(layout, (dy, dx), axis=(0, 1)) + random.uniform(-0.1, 0.1)
    noisy = moved + random.normal(0, 0.08, layout.shape[:2])[..., None]
    return (noisy.clip(0, 1) * 255).round().astype(np.uint8)
