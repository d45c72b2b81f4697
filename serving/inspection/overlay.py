"""Draws a map of contributions over its picture."""

import io

import numpy as np
from PIL import Image

from artifacts.contributions import Grid, enlarge
from artifacts.pictures import Picture
from artifacts.preprocessing import Frame

MAX_SIDE = 1024
"""Longest side of an overlay, in pixels; larger pictures are shrunken to it."""
FOR, AGAINST = (225, 121, 27), (63, 159, 232)
"""Orange for what speaks for the class, blue for what speaks against it: two colours of the same
lightness (0.68) in OKLCH, so that the same strength looks equally strong, which can be told apart
with every kind of colour blindness."""
OPACITY = 0.8
"""Of the strongest contribution."""
UNSEEN = 0.35
"""Brightness of the parts of the picture that the network did not see."""


def draw_overlay(picture: Picture, grid: Grid, frame: Frame) -> bytes:
    """Draw a map over the picture in grey.

    The colour is mixed in linearly with the size of the contribution; the largest one of either
    sign has the opacity `OPACITY`, and zero leaves the picture grey.

    Args:
        picture: uint8 H x W x 3.
        grid: h x w contributions.
        frame: rectangle that the grid covers, in pixels of the picture.

    Returns:
        A PNG of the size of the picture, or with a longer side of `MAX_SIDE`.
    """
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = np.asarray(image.convert("L"), np.float32)[:, :, None]
    height, width = grey.shape[:2]
    scales = width / picture.shape[1], height / picture.shape[0]
    left, top, right, bottom = (side * scale for side, scale in zip(frame, scales * 2, strict=True))
    values = enlarge(grid, (left, top, right, bottom), width, height)[:, :, None]
    share = (np.nan_to_num(values) / (np.abs(grid).max() or 1.0)).astype(np.float32)
    opacity = OPACITY * np.abs(share)  # (H, W, 1)
    colour = np.where(
        share > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32)
    )  # (H, W, 3)
    mixed = grey * (1 - opacity) + colour * opacity
    pixels = np.where(np.isnan(values), UNSEEN * mixed, mixed)
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()
