"""Pictures that show nothing, or nothing real: they are always at hand as outliers.

Sides are drawn between 24 and 256 px, log-uniformly, with aspect ratios of 2:3 to 3:2.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from artifacts.pictures import Picture

Random = np.random.Generator
SIDES = (24, 256)
WORDS = ("invoice", "page", "total", "order", "list", "note", "draft", "plan", "table", "map")


def plain(random: Random) -> Picture:
    """One colour."""
    width, height = _size(random)
    return np.broadcast_to(_colour(random), (height, width, 3)).copy()


def gradient(random: Random) -> Picture:
    """A linear transition between two colours, in any direction."""
    width, height = _size(random)
    angle = random.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:height, :width]
    ramp = x / width * math.cos(angle) + y / height * math.sin(angle)
    ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-9)
    first, last = _colour(random), _colour(random)
    return _bytes(first + ramp[..., None] * (last.astype(float) - first))


def noise(random: Random) -> Picture:
    """Independent noise of each pixel, coloured or grey, uniform or normal."""
    return _noise(random, 1)


def patches(random: Random) -> Picture:
    """The same with grains of 2, 4 or 8 px."""
    return _noise(random, 2 ** int(random.integers(1, 4)))


def _noise(random: Random, grain: int) -> Picture:
    width, height = _size(random)
    channels = 3 if random.random() < 0.7 else 1  # noqa: PLR2004 - a share
    shape = (math.ceil(height / grain), math.ceil(width / grain), channels)
    if random.random() < 0.5:  # noqa: PLR2004 - a share
        grains = random.uniform(0, 255, shape)
    else:
        grains = random.normal(random.uniform(60, 190), random.uniform(20, 80), shape)
    whole = grains.repeat(grain, 0).repeat(grain, 1)[:height, :width]
    return _bytes(np.broadcast_to(whole, (height, width, 3)))


def drawing(random: Random) -> Picture:
    """Outlines and filled shapes on a plain background, as people draw them."""
    image, pen = _canvas(random)
    for _ in range(int(random.integers(2, 9))):
        _shape(pen, image.size, random)
    return np.asarray(image)


def page(random: Random) -> Picture:
    """A page of lines of text."""
    image, pen = _canvas(random, light=True)
    size = max(8, int(image.height / random.uniform(6, 14)))
    font = ImageFont.load_default(size)
    ink = _ink(random)
    for top in range(size // 2, image.height - size, int(size * 1.4)):
        words = random.choice(WORDS, int(random.integers(1, 6)))
        pen.text((size // 2, top), " ".join(words), ink, font)
    return np.asarray(image)


def chart(random: Random) -> Picture:
    """A diagram of bars or of a curve, with axes."""
    image, pen = _canvas(random, light=True)
    width, height = image.size
    left, foot = width // 10 + 2, height - height // 10 - 2
    pen.line([(left, 2), (left, foot), (width - 2, foot)], fill=(0, 0, 0), width=1)
    count = int(random.integers(3, 12))
    tops = foot - random.uniform(0.1, 0.95, count) * foot
    xs = np.linspace(left + 2, width - 2, count + 1)
    colour = _ink(random)
    if random.random() < 0.5:  # noqa: PLR2004 - a share
        pen.line(list(zip(xs[:-1].tolist(), tops.tolist(), strict=True)), fill=colour, width=2)
    else:
        for start, end, top in zip(xs[:-1], xs[1:], tops, strict=True):
            pen.rectangle((start, top, start + 0.7 * (end - start), foot), fill=colour)
    return np.asarray(image)


KINDS: dict[str, Callable[[Random], Picture]] = {
    "plain": plain,
    "gradients": gradient,
    "noise": noise,
    "patches": patches,
    "drawings": drawing,
    "pages": page,
    "charts": chart,
}


def generate(kind: str, count: int, seed: int) -> list[Picture]:
    """Return `count` pictures of a kind, uint8 H x W x 3; the same for the same seed."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    return [KINDS[kind](random) for _ in range(count)]


def _shape(pen: ImageDraw.ImageDraw, size: tuple[int, int], random: Random) -> None:
    corners = (random.uniform(0, 1, (int(random.integers(2, 6)), 2)) * size).tolist()
    points = [(x, y) for x, y in corners]
    ink, width = _ink(random), max(1, int(min(size) / random.uniform(20, 60)))
    filled = _ink(random) if random.random() < 0.5 else None  # noqa: PLR2004 - a share
    (left, right), (top, foot) = (sorted(axis) for axis in zip(*points[:2], strict=True))
    match int(random.integers(0, 4)):
        case 0:
            pen.ellipse((left, top, right, foot), fill=filled, outline=ink, width=width)
        case 1:
            pen.rectangle((left, top, right, foot), fill=filled, outline=ink, width=width)
        case 2:
            pen.polygon(points, fill=filled, outline=ink)
        case _:
            pen.line(points, fill=ink, width=width, joint="curve")


def _canvas(random: Random, *, light: bool = False) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    least = 200 if light else 0
    colour = random.integers(least, 256, 3)
    image = Image.new("RGB", _size(random), tuple(colour.tolist()))
    return image, ImageDraw.Draw(image)


def _size(random: Random) -> tuple[int, int]:
    """Draw a width and a height in pixels."""
    side = math.exp(random.uniform(math.log(SIDES[0]), math.log(SIDES[1])))
    ratio = math.sqrt(random.uniform(2 / 3, 3 / 2))
    return max(8, round(side * ratio)), max(8, round(side / ratio))


def _colour(random: Random) -> npt.NDArray[np.uint8]:
    return random.integers(0, 256, 3, np.uint8)


def _ink(random: Random) -> tuple[int, ...]:
    return tuple(random.integers(0, 200, 3).tolist())


def _bytes(values: npt.NDArray[np.float64]) -> Picture:
    return values.clip(0, 255).round().astype(np.uint8)
