"""The generated multi-label data set `synthetic/shapes`: which shapes are in a picture.

Each of the four shapes is in a picture with a probability of its own, in a random colour, size and
place, on a noisy background. Later shapes may cover earlier ones in part. A small network learns
them in seconds; its figures have no other meaning.
"""

import hashlib
import zlib

import numpy as np
import numpy.typing as npt

from artifacts.datasets.base import ImageSet

CLASSES = ("cross", "disc", "ring", "square")
SHARES = (0.3, 0.5, 0.4, 0.6)
"""Share of the pictures that show each class."""
SIDE = 32
"""Width and height of a picture in pixels."""
COUNTS = {"train": 2000, "test": 500}
"""Number of pictures of each split."""
THICKNESS = 0.35
"""Width of the ring, and half the width of the bars of the cross, in radii."""
GENERATOR_VERSION = 1

Floats = npt.NDArray[np.float64]


def shapes(split: str) -> ImageSet:
    """Generate one split, with the same bytes at every call."""
    setting = f"synthetic/shapes:{split}:{GENERATOR_VERSION}"
    random = np.random.default_rng(zlib.crc32(setting.encode()))
    labels = random.random((COUNTS[split], len(CLASSES))) < SHARES
    images = np.stack([_picture(row, random) for row in labels])
    return ImageSet(
        "synthetic/shapes",
        split,
        CLASSES,
        images,
        labels.astype(np.int64),
        hashlib.sha256(setting.encode()).hexdigest(),
        synthetic=True,
    )


def _picture(present: npt.NDArray[np.bool_], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw the shapes that are present: uint8 SIDE x SIDE x 3."""
    picture = np.broadcast_to(random.uniform(0, 0.3, 3), (SIDE, SIDE, 3)).copy()
    for number in random.permutation(np.flatnonzero(present)):
        radius = random.uniform(4, 7)
        centre = random.uniform(radius, SIDE - radius, 2)
        y, x = np.mgrid[:SIDE, :SIDE] - centre[:, None, None]
        picture[_inside(CLASSES[number], y / radius, x / radius)] = random.uniform(0.5, 1, 3)
    noisy = picture + random.normal(0, 0.03, picture.shape)
    return (noisy.clip(0, 1) * 255).round().astype(np.uint8)


def _inside(name: str, y: Floats, x: Floats) -> npt.NDArray[np.bool_]:
    """Return which points belong to a shape of radius 1 around (0, 0)."""
    distance = np.hypot(y, x)
    nearer, farther = np.minimum(abs(y), abs(x)), np.maximum(abs(y), abs(x))
    return {
        "cross": (nearer < THICKNESS) & (farther < 1),
        "disc": distance < 1,
        "ring": (distance > 1 - THICKNESS) & (distance < 1),
        "square": farther < 1,
    }[name]
