"""The limits on pictures: formats, sizes, and the work that decoding one may take."""

import re

import numpy as np

from artifacts import InputPolicy
from artifacts.pictures import Picture
from serving.problems import RequestError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
ACCEPTED = "JPEG, PNG, WebP, BMP and GIF (its first frame) are accepted"
MAX_BODY_BYTES = 20_000_000
MAX_PICTURES = 1000
"""Pictures of one request, and parts of its form: each takes time to parse, and a body has room for
millions."""
MAX_REQUEST_PIXELS = 64_000_000
"""All pictures of a request together: a few kB can encode a picture of many megabytes."""
MAX_PICTURE_PIXELS = 50_000_000
"""One picture, whatever side lengths its model accepts."""
MAX_SCAN_PIXELS = 1_000_000_000
"""Pixels of a JPEG multiplied by its scans. Each scan of a progressive JPEG passes over the whole
picture but takes only ten bytes, so a small file could keep a core busy for hours. Image editors
write about ten scans."""
MAX_READS = 50_000
"""Reads from one file. The formats allow millions of empty chunks and comments, and each costs
time; files of 20 MB written by ordinary programs need a few thousand reads."""

# Marker, length and number of components of a scan's header (ISO/IEC 10918-1, B.2.3). libjpeg
# refuses other lengths, and within the data of a scan 0xFF is never followed by 0xDA.
SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


def check_array(array: Picture) -> Picture:
    """Accept an array that already is a picture.

    Raises:
        RequestError: it is not uint8 H x W x 3.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:  # noqa: PLR2004
        raise RequestError(
            "unsupported-format",
            f"an array of {array.dtype} with shape {array.shape}; uint8 H x W x 3 is accepted.",
        )
    return array


def check_size(width: int, height: int, policy: InputPolicy) -> None:
    """Check the size of a picture against what the model accepts.

    Raises:
        RequestError: a side is too short or too long, or there are too many pixels.
    """
    least, greatest = policy.accepted_side
    accepted = f"sides of {least} to {greatest} pixels are accepted"
    if min(width, height) < least:
        raise RequestError("picture-too-small", f"it is {width}x{height}; {accepted}; enlarge it.")
    if max(width, height) > greatest:
        raise RequestError("picture-too-large", f"it is {width}x{height}; {accepted}; shrink it.")
    if width * height > MAX_PICTURE_PIXELS:
        raise RequestError(
            "picture-too-large",
            f"it is {width}x{height}; {MAX_PICTURE_PIXELS // 1_000_000} megapixels are accepted; "
            "shrink it.",
        )


def check_scans(content: bytes, pixels: int) -> int:
    """Check that a JPEG has few enough scans to be decoded in reasonable time.

    Returns:
        How many times decoding passes over the picture; 1 for every other format.

    Raises:
        RequestError: too many scans for its size.
    """
    if not content.startswith(b"\xff\xd8"):
        return 1
    scans = len(SCAN.findall(content))
    if scans * pixels > MAX_SCAN_PIXELS:
        raise RequestError(
            "too-many-scans",
            f"the JPEG has {scans} scans of {pixels} pixels; {MAX_SCAN_PIXELS // pixels} are "
            "accepted at its size; save the picture again.",
        )
    return max(scans, 1)
