"""Composes photographs with scenery and several people from the cropped faces of a collection.

Three kinds of scenes are made, each with one person whom the photograph is of:

- portrait: the person alone, near the middle;
- press: besides, one to three other people's faces at the border, smaller or larger than the
  person's and often cut by it;
- aside: the person off the middle, by up to half the way to the border, and one to three smaller
  faces anywhere, also in the middle.

Faces are turned by up to 20 degrees, lit brighter or darker, blended into scenery (pictures of
cars, blurred at times) and stored as JPEG. A face of the person is 20 to 40 % of the width.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from artifacts.datasets import load
from artifacts.pictures import Picture

Kind = Literal["portrait", "press", "aside"]
KINDS: tuple[Kind, ...] = ("portrait", "press", "aside")
SIZES = ((250, 250), (400, 300), (300, 400), (480, 320))
FACE = 0.71
"""Width of a face as a share of the width of its crop, the median of CelebA's."""
MAX_ROLL = 20.0


class Photograph(NamedTuple):
    """A composed photograph."""

    picture: Picture
    """uint8 H x W x 3."""
    box: tuple[float, float, float, float]
    """The crop of the person whom it is of: left, top, right, bottom in pixels."""


class Studio:
    """Makes photographs.

    Args:
        seed: seed of everything that is drawn.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._scenery = load("stanford_cars", "test")

    def compose(
        self,
        face: Picture,
        others: Sequence[Picture],
        kind: Kind,
        size: tuple[int, int] | None = None,
    ) -> Photograph:
        """Make a photograph of a face.

        Args:
            face: crop of the person whom it is of, uint8 H x W x 3.
            others: crops of the other people; how many of them are used depends on the kind.
            kind: the kind of scene.
            size: width and height in pixels; drawn from `SIZES` if None.
        """
        width, height = size or SIZES[self.random.integers(len(SIZES))]
        canvas = self._background(width, height)
        crop = self.random.uniform(0.2, 0.4) * width / FACE
        reach = 0.5 if kind == "aside" else 0.12
        middle = np.array([width, height]) / 2 * (1 + self.random.uniform(-reach, reach, 2))
        boxes = [(middle, crop)]
        for other in others if kind != "portrait" else ():
            place, other_crop = self._place_of_other(kind, crop, width, height)
            if all(np.abs(place - there).max() > 0.4 * (other_crop + c) for there, c in boxes):
                self._paste(canvas, other, place, other_crop)
                boxes.append((place, other_crop))
        self._paste(canvas, face, middle, crop)
        box = (*(middle - crop / 2).tolist(), *(middle + crop / 2).tolist())
        return Photograph(self._as_jpeg(canvas), box)

    def _place_of_other(
        self, kind: Kind, crop: float, width: int, height: int
    ) -> tuple[np.ndarray, float]:
        if kind == "aside":
            other = crop * self.random.uniform(0.3, 0.7)
            return self.random.uniform(0.1, 0.9, 2) * (width, height), other
        other = crop * self.random.uniform(0.7, 1.7)
        across = self.random.choice([-1, 1]) * self.random.uniform(0.7, 1.0)  # -1 and 1: the border
        down = self.random.uniform(-0.8, 0.8)
        return np.array([(1 + across) * width / 2, (1 + down) * height / 2]), other

    def _background(self, width: int, height: int) -> Image.Image:
        drawn = self._scenery.images[int(self.random.integers(len(self._scenery.labels)))]
        image = Image.fromarray(drawn).resize((width, height), Image.Resampling.BICUBIC)
        if self.random.random() < 0.5:  # noqa: PLR2004
            image = image.filter(ImageFilter.GaussianBlur(self.random.uniform(1, 4)))
        return image

    def _paste(self, canvas: Image.Image, face: Picture, middle: np.ndarray, side: float) -> None:
        """Blend a crop, whose longer side becomes `side` pixels, into the canvas."""
        image = Image.fromarray(face)
        mask = Image.new("L", image.size, 0)
        edge = round(0.04 * max(image.size))
        inner = (edge, edge, image.width - 1 - edge, image.height - 1 - edge)
        ImageDraw.Draw(mask).rounded_rectangle(inner, radius=image.width // 3, fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(edge / 2))
        scale = side / max(image.size)
        small = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
        angle = self.random.uniform(-MAX_ROLL, MAX_ROLL)
        image = ImageEnhance.Brightness(image).enhance(self.random.uniform(0.6, 1.3))
        turned, cover = (
            each.resize(small, Image.Resampling.LANCZOS).rotate(
                angle, Image.Resampling.BICUBIC, expand=True
            )
            for each in (image, mask)
        )
        corner = tuple(np.round(middle - np.array(turned.size) / 2).astype(int).tolist())
        canvas.paste(turned, corner, cover)

    def _as_jpeg(self, image: Image.Image) -> Picture:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(self.random.integers(75, 96)))
        return np.asarray(Image.open(BytesIO(file.getvalue())).convert("RGB"))
