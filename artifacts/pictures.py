"""The decoder of pictures, which training, evaluation, analyses and serving share.

All of them therefore see the same pixels of the same file. The limits on what a request may contain
are in `serving.pictures`.

Pillow reads headers and decodes every format. The pixels of an intact JPEG are decoded by
simplejpeg instead, which gives the same pixels in a third to three quarters of the time: both use
libjpeg-turbo, but Pillow feeds it in pieces and copies the pixels twice.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from artifacts.errors import DataError

Picture = npt.NDArray[np.uint8]
"""H x W x 3, RGB."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM")
"""Formats of picture files, by Pillow's names; PPM includes PGM and PBM."""
VERSION = 2
"""Version of the decoder, which changes whenever some file is decoded to other pixels than before.
What is computed from pixels and cached is cached for one version."""
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation (Exif 2.32, 4.6.4 A); 1 is upright."""
SIDEWAYS = tuple(UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
"""Turns that exchange width and height."""


def read_picture(path: Path) -> Picture:
    """Decode a picture file, whose format is recognised by its content, as `upright_rgb` does.

    Returns:
        uint8 H x W x 3 RGB.

    Raises:
        DataError: the file cannot be read, has another format than `FORMATS`, or is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its name and its permissions."
        ) from None
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return upright_rgb(image)
    except UnidentifiedImageError:
        reason = "its content has none of the formats that are read"
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything for damaged data
        reason = str(error) or type(error).__name__
    raise DataError(
        f"{path}: not a readable picture ({reason}); save it again as JPEG, PNG, WebP, BMP, GIF or "
        "PPM, or remove it."
    )


def upright_rgb(image: Image.Image, reduction: int = 1) -> Picture:
    """Decode an opened picture.

    The EXIF orientation is applied, and malformed EXIF is ignored. Alpha, transparent palette
    entries and colour keys are composited over white, 16-bit greys are scaled to 8 bits, and only
    the first frame of an animation is decoded.

    Args:
        image: opened, and not decoded yet.
        reduction: 2, 4 or 8 decode an intact JPEG to this fraction of its width and height, rounded
            up. Other pictures are decoded as a whole.

    Returns:
        uint8 H x W x 3 RGB.

    Raises:
        Exception: of almost any type, if the picture is truncated or damaged.
    """
    file = getattr(image, "fp", None)
    if image.format == "JPEG" and image.mode in {"RGB", "L"} and isinstance(file, BytesIO):
        pixels = jpeg_pixels(file.getbuffer(), image.size, reduction)
        if pixels is not None:
            turn = _turn(image)
            return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))
    return pillow_pixels(image)


def pillow_pixels(image: Image.Image) -> Picture:
    """Decode an opened picture as `upright_rgb` does, whatever it is, with Pillow alone.

    Raises:
        Exception: of almost any type, if the picture is truncated or damaged.
    """
    image.load()
    turn = _turn(image)  # in some formats it is stored after the pixels
    if turn is None:
        return np.asarray(_rgb(image))  # (H, W, 3)
    turned = image.transpose(turn)
    turned.info = image.info  # keeps the transparency of palettes and colour keys
    return np.asarray(_rgb(turned))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height that an opened JPEG has when it is upright, in pixels."""
    width, height = image.size
    return (height, width) if _turn(image) in SIDEWAYS else (width, height)


def jpeg_pixels(
    content: bytes | memoryview, size: tuple[int, int], reduction: int = 1
) -> Picture | None:
    """Decode an intact JPEG of grey or colour as it lies, to uint8 H x W x 3 RGB.

    Args:
        content: of the file.
        size: its width and height, in pixels.
        reduction: see `upright_rgb`. The decoder leaves out the high frequencies of each block of
            8x8 pixels, which takes less time than all of them.

    Returns:
        None if there is anything odd about it. Pillow decides which damage is tolerated.
    """
    width, height = (-(-side // reduction) for side in size)
    try:
        pixels: Picture = simplejpeg.decode_jpeg(content, "RGB", min_width=width, min_height=height)
    except ValueError:
        return None
    return pixels


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns an opened picture upright, by its EXIF orientation; None if it is upright."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 - malformed EXIF, as some cameras write it, counts as none
        return None
    return UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16-bit grey, in which 65535 is white
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
