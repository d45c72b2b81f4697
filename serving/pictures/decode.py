"""Decodes pictures to upright RGB."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from artifacts import InputPolicy
from artifacts.runtime import Picture
from serving.observability.tracing import span
from serving.pictures.cancellation import still_wanted
from serving.pictures.header import Opened, open_pictures
from serving.problems import RequestError

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


def read_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> list[Picture]:
    """Decode the pictures of one request: `open_pictures`, then `decode_pictures`."""
    return decode_pictures(open_pictures(sources, policy))


def decode_pictures(opened: Opened) -> list[Picture]:
    """Decode opened pictures, for as long as somebody waits for them.

    Returns:
        uint8 H x W x 3 RGB arrays, upright (EXIF orientation applied), alpha laid over white,
        16-bit greys scaled to 8 bits, animations reduced to their first frame.

    Raises:
        RequestError: names the first damaged picture, counted from 0.
        Cancelled: nobody waits any more.
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


def decode(image: Image.Image) -> Picture:
    """Decode an opened picture to uint8 H x W x 3 RGB, upright.

    Raises:
        RequestError: the picture is truncated or damaged.
    """
    try:
        image.load()
        return np.asarray(_rgb(_upright(image)))  # (H, W, 3)
    except Exception:  # noqa: BLE001 - Pillow's decoders raise almost anything for damaged data
        raise RequestError(
            "damaged-picture",
            f"the {image.format} data is truncated or damaged; save the picture again and resend.",
        ) from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 - malformed EXIF, as some cameras write it, counts as none
        return image
    if not isinstance(orientation, int) or orientation not in UPRIGHT:
        return image
    info = image.info
    turned = image.transpose(UPRIGHT[orientation])
    turned.info = info  # keeps the transparency of palettes and colour keys
    return turned


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
