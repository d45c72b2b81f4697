"""Scenery around crops: pictures of a thing cut to it become photographs with more in them.

Crops alone teach a network that the thing fills the picture, and people send whole photographs. No
real scenery is left of a crop, so that it comes from other pictures. The sources of scenery for
training (`Invented`) and for measuring (`Photographs`) are different ones.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator
MAX_ZOOM = 3.0
"""Largest enlargement of a photograph beyond what covers the picture."""


class Scenery(Protocol):
    """A source of scenery."""

    def draw(self, crop: Image.Image, size: tuple[int, int], random: Random) -> Image.Image:
        """Draw a picture of scenery of a size (width, height) for a crop."""


class Photographs:
    """Random parts of pictures that show other things.

    Args:
        pictures: uint8 H x W x 3 each, of any sizes.
    """

    def __init__(self, pictures: Sequence[Pixels] | Pixels) -> None:
        self.pictures = pictures

    def draw(self, crop: Image.Image, size: tuple[int, int], random: Random) -> Image.Image:
        """See `Scenery.draw`."""
        del crop
        return part(self.pictures[int(random.integers(len(self.pictures)))], size, random)


class Invented:
    """Scenery for training: photographs, textures, blurred things, and continued borders.

    Args:
        photographs: Pictures of other things, uint8 H x W x 3 each.
        crops: Pictures of the things themselves, which are blurred beyond recognition.
    """

    def __init__(
        self, photographs: Sequence[Pixels] | Pixels, crops: Sequence[Pixels] | Pixels
    ) -> None:
        self.photographs, self.crops = photographs, crops

    def draw(self, crop: Image.Image, size: tuple[int, int], random: Random) -> Image.Image:
        """See `Scenery.draw`."""
        kind = random.integers(5)
        if kind == 0:
            return continued(crop, size, random)
        if kind == 1:
            return texture(size, random)
        if kind == 2:  # noqa: PLR2004
            blurred = part(self.crops[int(random.integers(len(self.crops)))], size, random)
            return blurred.filter(ImageFilter.GaussianBlur(max(size) * random.uniform(0.03, 0.1)))
        return mosaic(self.photographs, size, random)


def framed(
    crop: Image.Image, scenery: Image.Image, place: tuple[float, float], softness: float = 0.0
) -> Image.Image:
    """Paste a crop into scenery that is at least as large.

    Args:
        crop: RGB.
        scenery: RGB; it is changed in place.
        place: Where the crop is, from 0 (left, top) to 1 (right, bottom).
        softness: Share of the crop's sides (0..1) over which it fades into the scenery.
    """
    left = round(place[0] * (scenery.width - crop.width))
    top = round(place[1] * (scenery.height - crop.height))
    scenery.paste(crop, (left, top), _fading(crop.size, softness) if softness else None)
    return scenery


class Framed(Sequence[Pixels]):
    """Pictures that are framed on access, each always in the same way.

    Args:
        pictures: Crops, uint8 H x W x 3, of any sizes.
        scenery: What surrounds them.
        margin: Share of its width and height that each picture gains; 0 leaves it as it is.
        seed: Draws the place of each crop and its scenery.
        softness: See `framed`.
        share: Share of the pictures that are framed.
        varied: Whether the margin and the softness of each picture are drawn, up to those given.
    """

    def __init__(
        self,
        pictures: Sequence[Pixels] | Pixels,
        scenery: Scenery,
        margin: float,
        seed: int = 0,
        softness: float = 0.0,
        share: float = 1.0,
        *,
        varied: bool = False,
    ) -> None:
        self.pictures, self.scenery, self.margin = pictures, scenery, margin
        self.seed, self.softness, self.share, self.varied = seed, softness, share, varied

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> Pixels:  # type: ignore[override]
        """Return picture `index`, uint8 H x W x 3."""
        random = np.random.default_rng((self.seed, index))
        margin, softness = self.margin, self.softness
        if not margin or (self.share < 1 and random.random() >= self.share):
            return self.pictures[index]
        if self.varied:
            margin = random.uniform(0, margin)
            softness = max(0.0, random.uniform(-softness, softness))
        crop = Image.fromarray(self.pictures[index])
        size = round(crop.width * (1 + margin)), round(crop.height * (1 + margin))
        place = (random.random(), random.random())
        scene = self.scenery.draw(crop, size, random)
        return np.asarray(framed(crop, scene, place, softness))


def part(picture: Pixels, size: tuple[int, int], random: Random) -> Image.Image:
    """Return a random part of a picture, mirrored or not, in a size (width, height)."""
    image = Image.fromarray(picture)
    zoom = random.uniform(1, MAX_ZOOM)
    scale = min(image.width / size[0], image.height / size[1]) / zoom
    width, height = size[0] * scale, size[1] * scale
    left = random.uniform(0, image.width - width)
    top = random.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    found = image.resize(size, Image.Resampling.BICUBIC, box)
    return found.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else found  # noqa: PLR2004


def mosaic(
    pictures: Sequence[Pixels] | Pixels, size: tuple[int, int], random: Random
) -> Image.Image:
    """Return one to twelve pictures side by side, as a picture of a size (width, height)."""
    columns, rows = int(random.integers(1, 5)), int(random.integers(1, 4))
    cell = -(-size[0] // columns), -(-size[1] // rows)
    whole = Image.new("RGB", size)
    for column in range(columns):
        for row in range(rows):
            chosen = pictures[int(random.integers(len(pictures)))]
            whole.paste(part(chosen, cell, random), (column * cell[0], row * cell[1]))
    return whole


def texture(size: tuple[int, int], random: Random) -> Image.Image:
    """Return coloured noise of several scales, or a single colour, of a size (width, height)."""
    total = np.broadcast_to(random.uniform(30, 225, 3), (size[1], size[0], 3)).copy()
    for cells in 2 ** random.choice(7, size=random.integers(0, 4), replace=False):
        coarse = random.uniform(0, 255, (cells + 1, 2 * cells + 1, 3)).astype(np.uint8)
        coarse = coarse if random.random() < 0.5 else coarse[..., :1].repeat(3, 2)  # noqa: PLR2004
        layer = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(layer) - 127.5) * random.uniform(0.1, 0.8)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def continued(crop: Image.Image, size: tuple[int, int], random: Random) -> Image.Image:
    """Return the border of a crop, mirrored outwards and blurred, of a size (width, height)."""
    pixels = np.asarray(crop)
    rows = np.pad(np.arange(crop.height), (size[1] - crop.height + 1) // 2, mode="symmetric")
    columns = np.pad(np.arange(crop.width), (size[0] - crop.width + 1) // 2, mode="symmetric")
    mirrored = Image.fromarray(pixels[rows[: size[1], None], columns[: size[0]]])
    return mirrored.filter(ImageFilter.GaussianBlur(max(size) * random.uniform(0.01, 0.08)))


def _fading(size: tuple[int, int], softness: float) -> Image.Image:
    """Return a mask that falls to 0 at the edges."""
    ramps = [
        np.minimum(1, np.minimum(np.arange(n) + 0.5, np.arange(n, 0, -1) - 0.5) / (softness * n))
        for n in (size[1], size[0])
    ]
    return Image.fromarray((255 * np.outer(*ramps)).astype(np.uint8))
