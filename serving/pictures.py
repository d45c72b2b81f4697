"""From the bytes of a request to RGB pixels, trusting nothing about them."""

import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from artifacts import InputPolicy
from artifacts.runtime import Picture
from serving.problems import RequestError
from serving.tracing import span
from serving.work import still_wanted

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
ACCEPTED = "JPEG, PNG, WebP, BMP and GIF (its first frame) are accepted"
MAX_BODY_BYTES = 20_000_000
MAX_REQUEST_PIXELS = 64_000_000
"""Over all pictures of a request: a few kB can hold a picture of many megabytes."""
MAX_PICTURE_PIXELS = 50_000_000
"""Of one picture, whatever sides its model accepts."""
MAX_SCAN_PIXELS = 1_000_000_000
"""Pixels of a JPEG times its scans. Each scan of a progressive JPEG goes over the whole picture,
and takes ten bytes: a small file could keep a core busy for hours. Programs write about ten scans.
"""
MAX_READS = 50_000
"""Reads from one file. Formats allow for millions of empty chunks and comments, each of which costs
time; files of 20 MB as programs write them need some thousands.
"""

# Marker, length and number of components of a scan's header (ISO/IEC 10918-1, B.2.3). libjpeg
# refuses other lengths, and within a scan's data 0xFF is never followed by 0xDA.
SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

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
"""By EXIF orientation, what turns a picture upright (Exif 2.32, 4.6.4 A); 1 is upright."""

# Every size is checked here, against the policy of the model, before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# What Pillow warns of is either refused or of no consequence to pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")


class _Content(BytesIO):
    """A picture's bytes, which can be read so often and no oftener."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As `BytesIO`; raises an OSError, as for a file that is damaged."""
        self.reads += 1
        if self.reads > MAX_READS:
            raise OSError("the file has too many parts")
        return super().read(size)


class Opened(NamedTuple):
    """Pictures of one request whose sizes are known and accepted; encoded still."""

    images: list[Image.Image | Picture]
    pixels: list[int]
    """Of each."""
    scanned: list[int]
    """Pixels that decoding goes over, of each: those of a progressive JPEG with every scan."""


def read_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> list[Picture]:
    """Decode the pictures of one request: `open_pictures`, then `decode_pictures`."""
    return decode_pictures(open_pictures(sources, policy))


def open_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> Opened:
    """Read the headers of the pictures of one request, and hold them to what is accepted.

    Args:
        sources: encoded pictures; uint8 H x W x 3 RGB arrays pass, held to the same sizes.
        policy: of the model they are for; its `accepted_side` is enforced.

    Raises:
        RequestError: naming the first picture at fault, counted from 0.
    """
    if not sources:
        raise RequestError("no-picture", "no picture was given; give at least one.")
    opened = Opened([], [], [])
    total = 0
    for index, source in enumerate(sources):
        try:
            image = open_picture(source) if isinstance(source, bytes) else check_array(source)
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


def decode_pictures(opened: Opened) -> list[Picture]:
    """Decode opened pictures, as long as somebody waits for them.

    Returns:
        uint8 H x W x 3 RGB arrays, upright (EXIF orientation applied), alpha laid over white,
        16-bit greys scaled to 8 bits, animations reduced to their first frame.

    Raises:
        RequestError: naming the first picture that is damaged, counted from 0.
        GivenUp: nobody waits any more.
    """
    pictures = []
    with span("decode", pictures=len(opened.images)):
        for index, image in enumerate(opened.images):
            still_wanted()
            try:
                pictures.append(decode(image) if isinstance(image, Image.Image) else image)
            except RequestError as error:
                raise error.at(index) from None
    still_wanted()
    return pictures


def check_array(array: Picture) -> Picture:
    """Let an array pass that is a picture already.

    Raises:
        RequestError: it is not uint8 H x W x 3.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:  # noqa: PLR2004
        raise RequestError(
            "unsupported-format",
            f"an array of {array.dtype} with shape {array.shape}; uint8 H x W x 3 is accepted.",
        )
    return array


def size_of(image: Image.Image | Picture) -> tuple[int, int]:
    """Width and height in pixels."""
    if isinstance(image, Image.Image):
        return image.size
    return image.shape[1], image.shape[0]


def open_picture(content: bytes) -> Image.Image:
    """Read a picture's header; its pixels stay encoded.

    Raises:
        RequestError: empty, or not in an accepted format, judged by content alone.
    """
    if not content:
        raise RequestError("no-picture", f"the picture is empty (0 bytes); {ACCEPTED}.")
    try:
        # a smaller file has fewer parts than bytes, and needs no counting
        counted = _Content if len(content) > MAX_READS else BytesIO
        return Image.open(counted(content), formats=FORMATS)
    except Exception:  # noqa: BLE001 - Pillow's parsers raise almost anything for malformed headers
        raise RequestError(
            "unsupported-format",
            f"its {len(content)} bytes do not begin as a picture of a format that is read, or end "
            f"before its size is told; {ACCEPTED}.",
        ) from None


def check_size(width: int, height: int, policy: InputPolicy) -> None:
    """Hold a picture's size to what the model accepts.

    Raises:
        RequestError: a side is too short or too long.
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
    """Hold a JPEG to scans that can be decoded in reasonable time; other formats have one.

    Returns:
        How often decoding goes over the picture.

    Raises:
        RequestError: too many for its size.
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


def decode(image: Image.Image) -> Picture:
    """Decode an opened picture to uint8 H x W x 3 RGB, upright.

    Raises:
        RequestError: truncated or damaged.
    """
    try:
        image.load()
        return np.asarray(_rgb(_upright(image)))  # (H, W, 3)
    except Exception:  # noqa: BLE001 - as in open_picture
        raise RequestError(
            "damaged-picture",
            f"the {image.format} data is truncated or damaged; save the picture again and resend.",
        ) from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 - malformed EXIF, as some cameras write it, is no EXIF
        return image
    if not isinstance(orientation, int) or orientation not in UPRIGHT:
        return image
    info = image.info
    turned = image.transpose(UPRIGHT[orientation])
    turned.info = info  # transparency of palettes and colour keys
    return turned


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16 bits of grey, 65535 is white
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
