"""Reads the headers of pictures, so that sizes are checked before any pixel is decoded.

Pillow takes as long for the header of a JPEG as simplejpeg for all of a small one. simplejpeg
therefore reads the headers of those JPEGs that have nothing else to tell; if it finds anything odd,
Pillow decides.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from artifacts import InputPolicy
from artifacts.pictures import Picture
from serving.pictures.limits import (
    ACCEPTED,
    FORMATS,
    MAX_READS,
    MAX_REQUEST_PIXELS,
    check_array,
    check_scans,
    check_size,
)
from serving.problems import RequestError

# Every size is checked here against the model's input policy, before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Whatever Pillow warns about is either refused or makes no difference to the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")


OTHER_CONTENTS = (b"Exif\0", b"tiff:Orientation", b"MPF\0")
"""Marks of what Pillow heeds in a JPEG besides its pixels: orientation, further pictures."""


class PlainJpeg(NamedTuple):
    """A JPEG of grey or colour that lies upright, by its header."""

    content: bytes
    size: tuple[int, int]
    """Width and height."""


Openable = Image.Image | PlainJpeg | Picture


class Opened(NamedTuple):
    """The pictures of one request: their sizes are known and accepted, their pixels not decoded."""

    images: list[Openable]
    pixels: list[int]
    """Number of pixels of each picture."""
    scanned: list[int]
    """Number of pixels that decoding each picture passes over, counting every scan of a JPEG."""


def open_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> Opened:
    """Read the headers of the pictures of one request and check them against the limits.

    Args:
        sources: encoded pictures, or uint8 H x W x 3 RGB arrays.
        policy: of the model they are meant for; its `accepted_side` is enforced.

    Raises:
        RequestError: names the first picture at fault, counted from 0.
    """
    if not sources:
        raise RequestError("no-picture", "no picture was given; give at least one.")
    opened = Opened([], [], [])
    total = 0
    for index, source in enumerate(sources):
        try:
            image = open_encoded(source) if isinstance(source, bytes) else check_array(source)
            width, height = size_of(image)
            check_size(width, height, policy)
            scans = check_scans(source, width * height) if isinstance(source, bytes) else 1
        except RequestError as error:
            raise error.at(index) from None
        opened.images.append(image)
        opened.pixels.append(width * height)
        opened.scanned.append(scans * width * height)
        total += width * height
        if total > MAX_REQUEST_PIXELS:
            raise RequestError(
                "too-many-pixels",
                f"the pictures have more than {MAX_REQUEST_PIXELS // 1_000_000} megapixels "
                "together; send fewer in a request.",
            )
    return opened


def open_encoded(content: bytes) -> Image.Image | PlainJpeg:
    """Read the header of a picture as fast as possible; its pixels stay encoded.

    Raises:
        RequestError: as `open_picture`.
    """
    if content.startswith(b"\xff\xd8") and not any(mark in content for mark in OTHER_CONTENTS):
        with suppress(ValueError):
            height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
            if colours in {"YCbCr", "Gray", "RGB"}:
                return PlainJpeg(content, (width, height))
    return open_picture(content)


def open_picture(content: bytes) -> Image.Image:
    """Read the header of a picture; its pixels stay encoded.

    Raises:
        RequestError: it is empty or, judged by its content alone, not in an accepted format.
    """
    if not content:
        raise RequestError("no-picture", f"the picture is empty (0 bytes); {ACCEPTED}.")
    try:
        # A file of fewer bytes than MAX_READS cannot have that many parts. A BMP has no parts, but
        # Pillow reads run lengths byte by byte: 1 s for 10 MB, and less than 2 s for any body.
        parts = len(content) > MAX_READS and not content.startswith(b"BM")
        return Image.open(_CountedReads(content) if parts else BytesIO(content), formats=FORMATS)
    except Exception:  # noqa: BLE001 - Pillow's parsers raise almost anything for malformed headers
        raise RequestError(
            "unsupported-format",
            f"its {len(content)} bytes do not begin as a picture of an accepted format, or are cut "
            f"off; {ACCEPTED}.",
        ) from None


def size_of(image: Openable) -> tuple[int, int]:
    """Width and height in pixels."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    return image.size


class _CountedReads(BytesIO):
    """The bytes of a picture, which may be read from only `MAX_READS` times."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As `BytesIO.read`; raises an OSError once the file has been read too often."""
        self.reads += 1
        if self.reads > MAX_READS:
            raise OSError("the file has too many parts")
        return super().read(size)
