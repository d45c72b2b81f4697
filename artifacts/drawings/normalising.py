"""Finds the drawing on a picture, and puts it where digits of MNIST are.

LeCun et al. 1998 ("Gradient-based learning applied to document recognition", section III.A) scaled
characters to fit 20x20 px with their aspect ratio kept, antialiased, and placed their centre of
mass at the centre of 28x28 px, bright on black.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from artifacts.drawings.components import components
from artifacts.drawings.ink import Grey, ink_of
from artifacts.pictures import Picture

SIDE = 28
"""Side of a normalised drawing, px."""
BOX = 20
"""Side of the square that a drawing is scaled to fit into, px."""
SEARCHED = 192
"""Largest side of the picture in which the drawing is searched, px."""
CUT_OUT = 96
"""Largest side of the part that is cut out around a drawing, after it is reduced, px."""
MARGIN = 0.35
"""Margin around the drawing that is cut out with it, relative to its longer side."""
MIN_CONTRAST = 20.0
"""Least mean contrast of strokes, in grey levels of 255."""
MIN_SEPARABILITY = 0.8
"""Least share of the variance of a drawing's surroundings that is between ink and ground, which
Otsu 1979 calls eta. The ink of photographs has many levels; that of digits was above it."""
SPECK = 0.02
"""Weight of a part, relative to the heaviest, below which it is a speck."""
GAP = 0.25
"""Widest gap between parts of one drawing, relative to the longer side of the heaviest."""
RIVAL = 0.3
"""Weight of a part apart from the drawing, relative to it, from which on it is another drawing."""
MAX_PARTS = 50
"""Number of the heaviest parts that are looked at."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in px; the last two are exclusive."""
Window = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle in px, which may exceed the picture."""


class Drawing(NamedTuple):
    """A drawing that was found, and what was done with it."""

    box: Box
    """Where it is on the picture as sent."""
    inverted: bool
    """Whether it was dark on light."""
    size: tuple[int, int]
    """Width and height to which it was scaled, px."""
    window: Window
    """Rectangle of the picture as sent that the normalised picture shows."""
    unchanged: bool = False
    """Whether the picture was as in MNIST, and was left as it is."""


class NotFoundError(Exception):
    """A picture does not show one drawing; the message says what was found."""


class SeveralFoundError(NotFoundError):
    """A picture shows more than one drawing."""


def normalise(picture: Picture) -> tuple[Picture, Drawing]:
    """Find the one drawing on a picture, and normalise it as the digits of MNIST are.

    Large pictures are reduced by a whole number to search, and what is around the drawing is then
    cut out of the picture as sent.

    Args:
        picture: uint8 H x W x 3.

    Returns:
        uint8 28 x 28 x 3, bright on black, and what was done.

    Raises:
        NotFoundError: there is no drawing, or more than one.
    """
    image = Image.fromarray(picture).convert("L")
    factor = -(-max(image.size) // SEARCHED)
    found, ink, dark = _search(_reduced(image, factor))
    left = top = 0
    if factor > 1:
        around = _around(found, factor, image.size)
        image, (left, top) = image.crop(around), around[:2]
        factor = -(-max(image.size) // CUT_OUT)
        ink, _ = ink_of(_reduced(image, factor), dark=dark)
        found = _find(ink)
    if _otsu(ink)[1] < MIN_SEPARABILITY:
        raise NotFoundError("no drawing found")
    box = _enlarged(found, factor, image.size)
    box = (left + box[0], top + box[1], left + box[2], top + box[3])
    if picture.shape == (SIDE, SIDE, 3) and not dark and _as_in_mnist(picture, ink, found):
        return picture, Drawing(box, dark, _size(found), (0, 0, SIDE, SIDE), unchanged=True)
    grey, shown = _centred(ink, found)
    edges = [factor * edge for edge in shown]
    window = (left + edges[0], top + edges[1], left + edges[2], top + edges[3])
    return np.repeat(grey[..., None], 3, axis=2), Drawing(box, dark, _size(found), window)


def _search(grey: Grey) -> tuple[Box, Grey, bool]:
    """Find a drawing that is dark or bright: its box, what `ink_of` gives, and whether it is dark.

    Raises:
        NotFoundError: there is no drawing, or more than one.
    """
    ink, dark = ink_of(grey)
    try:
        return _find(ink), ink, dark
    except SeveralFoundError:
        raise
    except NotFoundError:  # a light that is far from even may outweigh a small drawing
        ink, dark = ink_of(grey, dark=not dark)
        return _find(ink), ink, dark


def _find(ink: Grey) -> Box:
    """Find the box of the one drawing, without specks.

    Parts are the components of what exceeds half the threshold of Otsu 1979 ("A threshold selection
    method from gray-level histograms"). The drawing is the heaviest part and those near it.

    Raises:
        NotFoundError: there is no drawing, or more than one.
    """
    threshold, _ = _otsu(ink)
    strokes = ink[ink > threshold]
    if not len(strokes) or strokes.mean() < MIN_CONTRAST:
        raise NotFoundError("no drawing found")
    boxes, weights = components(ink > threshold / 2, ink)
    order = np.argsort(-weights)[:MAX_PARTS]
    order = order[weights[order] >= SPECK * weights[order[0]]]
    box, weight, others = boxes[order[0]], weights[order[0]], order[1:]
    gap = GAP * max(box[2] - box[0], box[3] - box[1])
    while True:
        rest = boxes[others]
        near = np.maximum(rest[:, :2] - box[2:], box[:2] - rest[:, 2:]).max(axis=1) <= gap
        if not near.any():
            break
        weight += weights[others[near]].sum()
        joined = np.vstack([box, rest[near]])
        box = np.concatenate([joined[:, :2].min(axis=0), joined[:, 2:].max(axis=0)])
        others = others[~near]
    if len(others) and weights[others[0]] >= RIVAL * weight:
        raise SeveralFoundError("several drawings found")
    if weights.sum() > 2 * weight:
        raise NotFoundError("no drawing found")
    left, top, right, bottom = box.tolist()
    return left, top, right, bottom


def _otsu(ink: Grey) -> tuple[float, float]:
    """Find the grey level that divides the pixels with the largest variance between the two.

    Returns:
        The level, and the share of the variance that is between the two, 0..1.
    """
    levels = np.minimum(ink, 255).astype(np.uint8).ravel()
    counts = np.bincount(levels, minlength=256).astype(np.float64)
    below, sums = counts.cumsum()[:-1], (counts * np.arange(256)).cumsum()
    above, mean = len(levels) - below, sums[-1] / len(levels)
    both = (below > 0) & (above > 0)
    between = np.zeros(255)
    distance = (mean * below - sums[:-1])[both]
    between[both] = distance**2 / (below * above)[both]
    # no pixel has any of the levels between a clean ground and its ink, which are all as good
    threshold = float(np.flatnonzero(between == between.max()).mean())
    variance = levels.var()
    return threshold, float(between.max() / variance) if variance else 0.0


def _centred(ink: Grey, box: Box) -> tuple[Picture, Window]:
    """Scale what is in a box, and place its centre of mass at the centre.

    Strokes get a brightness near 255, as reducing thin ones has made them pale.

    Returns:
        uint8 28 x 28, and the rectangle of the ink that it shows.
    """
    left, top, right, bottom = box
    half = SIDE / 2 * max(right - left, bottom - top) / BOX  # of the window, in pixels of the ink
    x, y = _centre(ink, box)
    # a drawing whose centre of mass is far from its middle stays in the window
    x = min(max(x, right - half), left + half)
    y = min(max(y, bottom - half), top + half)
    shown = (x - half, y - half, x + half, y + half)
    margin = int(2 * half) + 2
    sheet = np.pad(ink[top:bottom, left:right], margin)
    across, down = margin - left, margin - top
    window = (shown[0] + across, shown[1] + down, shown[2] + across, shown[3] + down)
    resized = Image.fromarray(sheet).resize((SIDE, SIDE), Image.Resampling.BICUBIC, window)
    grey = np.asarray(resized)
    bright = np.percentile(grey[grey > grey.max() / 2], 75)
    levels: Picture = np.rint((grey * (255 / bright)).clip(0, 255)).astype(np.uint8)
    return levels, shown


def _as_in_mnist(picture: Picture, ink: Grey, box: Box) -> bool:
    """Say whether a bright drawing on 28x28 px already has the size and the place of MNIST's."""
    longer = max(box[2] - box[0], box[3] - box[1])
    x, y = _centre(ink, box)
    placed = max(abs(x - SIDE / 2), abs(y - SIDE / 2)) <= 1
    black, white = np.median(picture) <= 10, ink.max() >= 200  # noqa: PLR2004
    return bool(placed and BOX - 2 <= longer <= BOX + 1 and black and white)


def _centre(ink: Grey, box: Box) -> tuple[float, float]:
    """Return the centre of mass (x, y) of what is in a box, in px."""
    left, top, right, bottom = box
    part = ink[top:bottom, left:right]
    columns, rows = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    total = part.sum()
    return float(part.sum(axis=0) @ columns / total), float(part.sum(axis=1) @ rows / total)


def _size(box: Box) -> tuple[int, int]:
    """Return the width and height of a box that is scaled to fit into `BOX` px, at least 1."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = BOX / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _reduced(image: Image.Image, factor: int) -> Grey:
    return np.asarray(image.reduce(factor) if factor > 1 else image, np.float32)


def _enlarged(box: Box, factor: int, size: tuple[int, int]) -> Box:
    """Return a box of a reduced picture in pixels of the picture itself, which has this size."""
    left, top, right, bottom = (factor * edge for edge in box)
    return left, top, min(right, size[0]), min(bottom, size[1])


def _around(box: Box, factor: int, size: tuple[int, int]) -> Box:
    """Return what to cut out around a box of a reduced picture, in pixels of the picture itself."""
    left, top, right, bottom = _enlarged(box, factor, size)
    margin = int(MARGIN * max(right - left, bottom - top)) + 2 * factor
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(size[0], right + margin),
        min(size[1], bottom + margin),
    )
