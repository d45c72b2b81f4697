"""Renders digits of MNIST as people send them: on paper, in a drawing program, as photographs."""

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from artifacts.pictures import Picture

Grey = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

FINE = 112
"""Side at which strokes are made thicker or thinner, px: four times that of MNIST."""
NOISE = np.random.default_rng(0).standard_normal((1280, 1280, 3), np.float32)
"""Normal deviates, of which every sheet gets a part from a random place."""
INK: dict[str, Colour] = {"black": (35, 35, 40), "blue": (40, 60, 150), "grey": (95, 95, 98)}
LINES: Colour = (150, 175, 205)


@dataclass(frozen=True)
class Sheet:
    """How a digit is drawn and photographed; ranges are uniform."""

    side: tuple[int, int] = (100, 400)
    """Width and height, px."""
    height: tuple[float, float] = (0.3, 0.8)
    """Height of MNIST's frame of 28 px, as a fraction of the shorter side."""
    strokes: tuple[int, int] = (0, 0)
    """Change of the width of strokes on each side, in quarters of a pixel of MNIST."""
    rotation: float = 0.0
    """Largest rotation, degrees."""
    light: float = 0.0
    """Largest share of the light that is missing in the darkest corner, 0..1."""
    noise: float = 4.0
    """Standard deviation of the noise of each channel, of 255."""
    blur: float = 0.0
    """Largest radius of Gaussian blur, px."""
    quality: int | None = None
    """Quality of the JPEG; None: not compressed."""
    ink: str = "black"
    lines: Literal["none", "ruled", "squared"] = "none"
    negative: bool = False
    """Whether chalk on a board is drawn instead of ink on paper."""


PAPER = Sheet()
PHOTOGRAPH = Sheet((400, 1200), (0.15, 0.6), light=0.5, noise=6, blur=1.5, quality=75, rotation=10)
KINDS: dict[str, Sheet | None] = {
    "as in MNIST": None,
    "dark on paper, filling the picture": replace(PAPER, side=(28, 60), height=(0.95, 1.0)),
    "off centre on paper": PAPER,
    "off centre, chalk on a board": replace(PAPER, negative=True),
    "small on a large sheet": replace(PAPER, side=(800, 1200), height=(0.08, 0.2)),
    "thick strokes": replace(PAPER, strokes=(2, 4)),
    "thin strokes": replace(PAPER, strokes=(-2, -1)),
    "rotated by up to 10 degrees": replace(PAPER, rotation=10),
    "uneven light": replace(PAPER, light=0.6),
    "blue ink": replace(PAPER, ink="blue"),
    "photograph, JPEG of quality 75": PHOTOGRAPH,
    "photograph of a pencil drawing": replace(PHOTOGRAPH, ink="grey", strokes=(-1, 0)),
    "photograph of ruled paper": replace(PHOTOGRAPH, lines="ruled"),
    "photograph of squared paper": replace(PHOTOGRAPH, lines="squared"),
}
"""Ways to draw a digit, by their names in the table; None: the picture as it is in MNIST."""


def drawn(digit: Picture, sheet: Sheet | None, random: np.random.Generator) -> Picture:
    """Draw a digit of MNIST on a sheet.

    Args:
        digit: uint8 28 x 28 x 3, bright on black.
        sheet: how; None returns the digit itself.
        random: draws the size, the place and everything else that varies.

    Returns:
        uint8 H x W x 3.
    """
    if sheet is None:
        return digit
    width, height = random.integers(sheet.side[0], sheet.side[1] + 1, 2).tolist()
    strokes = _strokes(digit, sheet, random)
    side = max(12, round(min(width, height) * random.uniform(*sheet.height)))
    scaled = strokes.resize((side, side), Image.Resampling.LANCZOS)
    cover = np.zeros((height, width), np.float32)  # share of each pixel that ink covers
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    cover[top : top + side, left : left + side] = np.asarray(scaled, np.float32) / 255
    paper = _paper(sheet, height, width, random)
    ink = np.array(INK[sheet.ink], np.float32) + random.uniform(-15, 15)
    page = paper + (ink - paper) * cover[..., None]  # (H, W, 3)
    if sheet.negative:
        page = 255 - page
    page *= _light(sheet, height, width, random)[..., None]
    above, before = random.integers(0, NOISE.shape[0] - np.array([height, width]) + 1)
    page += sheet.noise * NOISE[above : above + height, before : before + width]
    return _photographed(np.rint(page.clip(0, 255)).astype(np.uint8), sheet, random)


def _strokes(digit: Picture, sheet: Sheet, random: np.random.Generator) -> Image.Image:
    """Enlarge a digit, with sharp strokes that are thicker or thinner, and rotate it: L."""
    fine = Image.fromarray(digit).convert("L").resize((FINE, FINE), Image.Resampling.LANCZOS)
    change = int(random.integers(sheet.strokes[0], sheet.strokes[1] + 1))
    if change > 0:
        fine = fine.filter(ImageFilter.MaxFilter(2 * change + 1))
    elif change < 0:
        fine = fine.filter(ImageFilter.MinFilter(1 - 2 * change))
    fine = fine.point([min(255, max(0, round(2 * v - 128))) for v in range(256)])
    angle = random.uniform(-sheet.rotation, sheet.rotation)
    return fine.rotate(angle, Image.Resampling.BICUBIC) if sheet.rotation else fine


def _paper(sheet: Sheet, height: int, width: int, random: np.random.Generator) -> Grey:
    """Paper of a random light colour, with the lines that are printed on it: H x W x 3."""
    page = np.empty((height, width, 3), np.float32)
    page[:] = random.uniform(195, 250) + random.uniform(-12, 5, 3)
    if sheet.lines == "none":
        return page
    step = max(8, min(height, width) // int(random.integers(10, 20)))
    thick = max(1, step // 20)
    start, offset = random.integers(0, step, 2)
    for i in range(thick):
        page[start + i :: step] = LINES
        if sheet.lines == "squared":
            page[:, offset + i :: step] = LINES
    return page


def _light(sheet: Sheet, height: int, width: int, random: np.random.Generator) -> Grey:
    """Share of the light that reaches each pixel, brightest in one place: H x W."""
    y, x = np.mgrid[0:1:64j, 0:1:64j].astype(np.float32)
    distance = np.hypot(y - random.uniform(0, 1), x - random.uniform(0, 1))
    missing = random.uniform(sheet.light / 2, sheet.light)
    light = Image.fromarray(1 - missing * distance / distance.max())
    return np.asarray(light.resize((width, height), Image.Resampling.BICUBIC))


def _photographed(page: Picture, sheet: Sheet, random: np.random.Generator) -> Picture:
    image = Image.fromarray(page)
    if sheet.blur:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, sheet.blur)))
    if sheet.quality is not None:
        file = BytesIO()
        image.save(file, "JPEG", quality=sheet.quality)
        image = Image.open(file)
    return np.asarray(image)
