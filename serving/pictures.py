"""From the bytes of a request to RGB pixels, trusting nothing about them."""

import warnings
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from artifacts import InputPolicy
from artifacts.runtime import Picture
from serving.problems import RequestError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
ACCEPTED = "JPEG, PNG, WebP, BMP and GIF (its first frame) are accepted"
MAX_BODY_BYTES = 20_000_000
MAX_REQUEST_PIXELS = 64_000_000
"""Over all pictures of a request: a few kB can hold a picture of many megabytes."""

# Every size is checked here, against the policy of the model, before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


def read_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> list[Picture]:
    """Decode the pictures of one request.

    Args:
        sources: encoded pictures; uint8 H x W x 3 RGB arrays pass, held to the same sizes.
        policy: of the model they are for; its `accepted_side` is enforced.

    Returns:
        uint8 H x W x 3 RGB arrays, upright (EXIF orientation applied), alpha laid over white,
        16-bit greys scaled to 8 bits, animations reduced to their first frame.

    Raises:
        RequestError: naming the first picture at fault, counted from 0. The sizes of all are
            checked before any is decoded.
    """
    if not sources:
        raise RequestError("no-picture", "no picture was given; give at least one.")
    opened: list[Image.Image | Picture] = []
    pixels = 0
    for index, source in enumerate(sources):
        try:
            image = open_picture(source) if isinstance(source, bytes) else check_array(source)
            width, height = size_of(image)
            check_size(width, height, policy)
        except RequestError as error:
            raise error.at(index) from None
        opened.append(image)
        pixels += width * height
        if pixels > MAX_REQUEST_PIXELS:
            raise RequestError(
                "too-many-pixels",
                f"the pictures have more than {MAX_REQUEST_PIXELS // 1_000_000} megapixels "
                "together; send fewer in a request.",
            )
    pictures = []
    for index, image in enumerate(opened):
        try:
            pictures.append(decode(image) if isinstance(image, Image.Image) else image)
        except RequestError as error:
            raise error.at(index) from None
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
        with warnings.catch_warnings(action="ignore"):
            return Image.open(BytesIO(content), formats=FORMATS)
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


def decode(image: Image.Image) -> Picture:
    """Decode an opened picture to uint8 H x W x 3 RGB, upright.

    Raises:
        RequestError: truncated or damaged.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            image.load()
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_rgb(upright))  # (H, W, 3)
    except Exception:  # noqa: BLE001 - as in open_picture
        raise RequestError(
            "damaged-picture",
            f"the {image.format} data is truncated or damaged; save the picture again and resend.",
        ) from None


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
