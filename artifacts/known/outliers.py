"""Pictures of other things than a classifier knows, and copies of pictures that it knows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from artifacts.datasets import load, parse
from artifacts.datasets.base import spread
from artifacts.errors import DataError
from artifacts.known.generated import KINDS, generate
from artifacts.pictures import Picture

GENERATED = "generated"
"""Name of the data set whose splits are the kinds of `artifacts.known.generated`."""
LIMIT = 400
"""Maximum number of pictures of one data set of outliers."""
GENERATED_LIMIT = 600
"""Number of generated pictures of a kind, which cost no more than running the graph on them."""
ALWAYS = tuple(f"{GENERATED}:{kind}" for kind in KINDS)
"""Outliers that are always at hand."""

Images = Sequence[Picture] | Picture


@dataclass(frozen=True)
class Pictures:
    """Pictures with a name, uint8 H x W x 3 of any mix of sizes."""

    name: str
    images: Images


def named(text: str, seed: int = 0, generated: int = GENERATED_LIMIT) -> Pictures:
    """Return pictures of `NAME:SPLIT`, at most `LIMIT`, or generate some of `generated:KIND`.

    Args:
        text: what to return.
        seed: of generated pictures.
        generated: number of them.

    Raises:
        DataError: there are no such pictures.
    """
    name, _, kind = text.partition(":")
    if name == GENERATED:
        if kind not in KINDS:
            raise DataError(f"{text!r} is unknown; generated are: {', '.join(ALWAYS)}.")
        return Pictures(text, generate(kind, generated, seed))
    name, split = parse(text)
    return Pictures(f"{name}:{split}", load(name, split).head(LIMIT).images)


def copies(images: Images, limit: int) -> list[list[Picture]]:
    """Return at most `limit` of the pictures as they look after use elsewhere, in three ways.

    Compressed as JPEG of quality 50; shrunk to 70 % of their side and enlarged again; enlarged to
    twice their side (at most 512 px) and compressed. All kinds are of the same pictures.
    """
    chosen = [images[i] for i in spread(len(images), limit)]
    return [
        [_compressed(picture) for picture in chosen],
        [_resized(_resized(p, 0.7), size=(p.shape[1], p.shape[0])) for p in chosen],
        [_compressed(_resized(p, min(2.0, 512 / max(p.shape[:2])))) for p in chosen],
    ]


def _compressed(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    with Image.open(file) as image:
        return np.asarray(image)


def _resized(picture: Picture, factor: float = 1.0, size: tuple[int, int] | None = None) -> Picture:
    height, width = picture.shape[:2]
    target = size or (max(8, round(width * factor)), max(8, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(target, Image.Resampling.BICUBIC))
