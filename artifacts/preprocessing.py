"""Prepares pictures for a graph: the one implementation of `InputPolicy`.

The server, the in-process client, the analyses and the measurements of training all prepare
pictures with `prepare`. `network_input` computes what the graph then does with them.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts.drawings import SIDE, Drawing, NotFoundError, normalise
from artifacts.input_policy import InputPolicy, Normalisation
from artifacts.pictures import Picture

__all__ = [
    "InputPolicy",
    "Normalisation",
    "Prepared",
    "network_input",
    "prepare",
    "prepare_and_tell",
]

MAX_EXCESS = 16
"""How many times the pixels of the crop a resized picture may have. Of a longer picture only the
part that is kept is computed, because a strip of 8x4096 px would otherwise take 130 MB. Its pixels
equal those of the whole within 2, because Pillow rounds between its two passes, and may take the
passes in another order."""

SCALES = {"0..1": (255.0, 0.0), "0..255": (1.0, 0.0), "-1..1": (127.5, 1.0)}
"""Divisor of pixel values, and what is then subtracted, by `Normalisation.scale`."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of a picture, in pixels; the last two are exclusive."""
Frame = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle, in pixels of a picture, which it may exceed."""


class Prepared(NamedTuple):
    """A picture as a graph sees it."""

    picture: Picture
    """uint8 H' x W' x 3."""
    size: tuple[int, int]
    """Width and height of the picture as it was given, px."""
    treatment: str
    """What was done with it, in words."""
    window: Frame | None = None
    """Rectangle of the given picture that the normalised drawing shows; None if there is none."""


def prepare_and_tell(
    picture: Picture, policy: InputPolicy, size: tuple[int, int] | None = None
) -> Prepared:
    """Prepare one picture as `prepare` does, and say in words what was done.

    Args:
        picture: uint8 H x W x 3, RGB.
        policy: of the graph.
        size: width and height of the picture before its decoder reduced it by what
            `policy.reduction` allows; those of `picture` by default.
    """
    width, height = size or (picture.shape[1], picture.shape[0])
    if policy.drawing is None:
        shown = _resize(picture, policy, (width, height))
        return Prepared(shown, (width, height), _steps(policy, width, height))
    try:
        found, drawing = normalise(picture)
    except NotFoundError as error:
        steps = f"{error}; {_steps(policy, width, height)}"
        return Prepared(_resize(picture, policy, (width, height)), (width, height), steps)
    side = (found.shape[1], found.shape[0])
    shown, steps = _resize(found, policy, side), _steps(policy, *side)
    if not drawing.unchanged:
        steps = ", ".join([_told(drawing), steps] if shown is not found else [_told(drawing)])
    return Prepared(shown, (width, height), steps, drawing.window)


def prepare(picture: Picture, policy: InputPolicy) -> Picture:
    """Normalise the drawing on a picture, resize, crop and pad it, as the input policy says.

    Resizing equals Pillow's to the pixel, except for strips (see `MAX_EXCESS`). Bilinear without
    antialiasing is the half-pixel bilinear of `tf.image.resize`, rounded to integers. It equals
    OpenCV's INTER_LINEAR within 1, because OpenCV computes with fixed-point weights.

    Args:
        picture: uint8 H x W x 3, RGB.
        policy: of the graph.

    Returns:
        uint8 H' x W' x 3, of the size that `policy.target` gives for it, or for the normalised
        drawing. It is `picture` itself if nothing changes.
    """
    if policy.drawing is not None:
        return prepare_and_tell(picture, policy).picture
    return _resize(picture, policy, (picture.shape[1], picture.shape[0]))


def _resize(picture: Picture, policy: InputPolicy, whole: tuple[int, int]) -> Picture:
    """Resize, crop and pad a picture, in which nothing is searched any more.

    Args:
        picture: uint8 H x W x 3, RGB.
        policy: of the graph.
        whole: width and height of the picture before its decoder reduced it, if it did.
    """
    width, height = whole
    size = policy.resized(width, height)
    # a policy without a fixed size neither crops nor pads
    target = size if policy.fixed_size is None else policy.target(width, height)
    shrunk = policy.shrunk(width, height)
    if size == target == shrunk == (width, height):
        return picture
    if shrunk != (width, height):
        picture = _resized(picture, shrunk, (0, 0, *shrunk), policy, whole)
        whole = shrunk
    left, right, before = _kept(size[0], target[0], policy)
    top, bottom, above = _kept(size[1], target[1], policy)
    part = _resized(picture, size, (left, top, right, bottom), policy, whole)
    if part.shape[:2] == (target[1], target[0]):
        return part
    padded = np.empty((target[1], target[0], 3), np.uint8)
    padded[:] = policy.pad_colour
    padded[above : above + part.shape[0], before : before + part.shape[1]] = part
    return padded


def frame(prepared: Prepared, policy: InputPolicy) -> Frame:
    """Return the rectangle of a picture that the whole of its prepared form shows.

    A crop lies inside the picture, and padding lies outside of it. With them, a place of the
    prepared picture is found in the picture itself.

    Args:
        prepared: the picture.
        policy: that it was prepared by.
    """
    width, height = prepared.size if prepared.window is None else (SIDE, SIDE)
    x, y, end, foot = prepared.window or (0, 0, width, height)
    across, down = (end - x) / width, (foot - y) / height
    resized, target = policy.resized(width, height), policy.target(width, height)
    left, right = _shown(width, resized[0], target[0], policy)
    top, bottom = _shown(height, resized[1], target[1], policy)
    return x + across * left, y + down * top, x + across * right, y + down * bottom


def _shown(side: int, resized: int, target: int, policy: InputPolicy) -> tuple[float, float]:
    """Return where a prepared side of `target` pixels begins and ends, in pixels of `side`."""
    first, _, padding = _kept(resized, target, policy)
    begin = first - padding
    scale = side / resized
    return begin * scale, (begin + target) * scale


def network_input(images: Picture, normalisation: Normalisation) -> npt.NDArray[Any]:
    """Compute what the network inside a graph gets.

    Args:
        images: uint8 N x H x W x 3 RGB, prepared by the input policy.
        normalisation: as the input policy records it.

    Returns:
        N x C x H x W or N x H x W x C of the recorded dtype; C is 1 for grey, otherwise 3.
    """
    if normalisation.colour_order == "grey":
        red, green, blue = np.moveaxis(images.astype(np.int64), -1, 0)
        # Pillow's conversion from RGB to L
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        channels = luma[..., None].astype(np.float64)  # (N, H, W, 1)
    else:
        ordered = images[..., ::-1] if normalisation.colour_order == "bgr" else images
        channels = ordered.astype(np.float64)
    divisor, shift = SCALES[normalisation.scale]
    values = (channels / divisor - shift - normalisation.mean) / normalisation.std
    if normalisation.layout == "nchw":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values.astype(normalisation.dtype))


def _steps(policy: InputPolicy, width: int, height: int) -> str:
    """Say in words how a picture of a size in pixels is resized, cropped and padded."""
    shown, resized = policy.target(width, height), policy.resized(width, height)
    steps, shrunk = [], policy.shrunk(width, height)
    if shrunk != (width, height):
        steps.append(f"shrunk {width}x{height} -> {shrunk[0]}x{shrunk[1]}")
        width, height = shrunk
    if resized != (width, height):
        steps.append(f"rescaled {width}x{height} -> {resized[0]}x{resized[1]}")
    if resized != shown:
        step = "padded" if policy.resize == "pad" else "cropped"
        steps.append(f"{step} to {shown[0]}x{shown[1]}")
    return ", ".join(steps) or "shown as it is"


def _told(drawing: Drawing) -> str:
    """Say in words how a drawing was normalised."""
    left, top, right, bottom = drawing.box
    return (
        f"{'inverted, ' * drawing.inverted}cropped to the drawing {right - left}x{bottom - top} at "
        f"({left}, {top}), scaled to {drawing.size[0]}x{drawing.size[1]}, centred"
    )


def _kept(side: int, wanted: int, policy: InputPolicy) -> tuple[int, int, int]:
    """Return the first and the last (exclusive) pixel of a side that are kept, and the padding."""
    if side <= wanted:
        return 0, side, (wanted - side) // 2
    start = policy.crop_start(side, wanted)
    return start, start + wanted, 0


def _resized(
    picture: Picture, size: tuple[int, int], part: Box, policy: InputPolicy, whole: tuple[int, int]
) -> Picture:
    """Return the part of a picture that was resized to a size (width, height).

    Args:
        picture: uint8 H x W x 3, RGB.
        size: of the picture after resizing.
        part: of the resized picture that is returned.
        policy: of the graph.
        whole: width and height of the picture before its decoder reduced it, if it did.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = part
    kept = (right - left, bottom - top)
    if size == (width, height):
        return np.ascontiguousarray(picture[top:bottom, left:right])
    if policy.interpolation == "bilinear" and not policy.antialias:
        return _bilinear(picture, size, part)
    image = Image.fromarray(picture)
    method = Image.Resampling[policy.interpolation.upper()]
    # the sides of a reduced picture are rounded up, beyond what the whole covers
    reduction = round(whole[0] / width)
    end, foot = whole[0] / reduction, whole[1] / reduction
    if size[0] * size[1] > MAX_EXCESS * kept[0] * kept[1]:
        across, down = end / size[0], foot / size[1]
        source = (left * across, top * down, min(right * across, end), min(bottom * down, foot))
        return np.asarray(image.resize(kept, method, box=source))
    resized = image.resize(size, method, box=(0, 0, end, foot))
    return np.asarray(resized if kept == size else resized.crop(part))


def _bilinear(picture: Picture, size: tuple[int, int], part: Box) -> Picture:
    """Interpolate between the four pixels nearest to each new centre (half-pixel centres)."""
    left, top, right, bottom = part
    columns, next_columns, across = _neighbours(picture.shape[1], size[0], left, right)
    rows, next_rows, down = _neighbours(picture.shape[0], size[1], top, bottom)
    across, down = across[:, None], down[:, None, None]
    upper, lower = (
        picture[y][:, columns] * (1 - across) + picture[y][:, next_columns] * across
        for y in (rows, next_rows)
    )  # (h, w, 3) each
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _neighbours(
    side: int, new: int, first: int, last: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the two pixels of a side between which each new pixel lies, and the second's weight.

    Args:
        side: length of the side.
        new: its length after resizing.
        first: first of the new pixels wanted.
        last: last of them, exclusive.
    """
    places = ((np.arange(first, last) + 0.5) * (side / new) - 0.5).clip(0, side - 1)
    low = np.floor(places).astype(np.int64)
    return low, np.minimum(low + 1, side - 1), (places - low).astype(np.float32)
