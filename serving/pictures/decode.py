"""Decodes the pictures of requests with the decoder that training uses, `artifacts.pictures`."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from artifacts import InputPolicy
from artifacts.pictures import Picture, jpeg_pixels, pillow_pixels, upright_rgb
from serving.observability.tracing import span
from serving.pictures.cancellation import still_wanted
from serving.pictures.header import Opened, PlainJpeg, open_picture, open_pictures
from serving.problems import RequestError


def read_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> list[Picture]:
    """Decode the pictures of one request: `open_pictures`, then `decode_pictures`."""
    return decode_pictures(open_pictures(sources, policy))


def decode_pictures(opened: Opened, start: int = 0, stop: int | None = None) -> list[Picture]:
    """Decode opened pictures, for as long as somebody waits for them.

    Args:
        opened: the pictures of a request.
        start: index of the first picture to decode.
        stop: index after the last one; all of the rest by default.

    Returns:
        uint8 H x W x 3 RGB arrays, as `artifacts.pictures.upright_rgb` makes them.

    Raises:
        RequestError: names the first damaged picture, counted from 0.
        Cancelled: nobody waits any more.
    """
    pictures = []
    wanted = opened.images[start:stop]
    with span("decode", pictures=len(wanted)):
        for index, image in enumerate(wanted, start):
            still_wanted()
            try:
                pictures.append(image if isinstance(image, np.ndarray) else decode(image))
            except RequestError as error:
                raise error.at(index) from None
    still_wanted()
    return pictures


def decode(image: Image.Image | PlainJpeg) -> Picture:
    """Decode an opened picture to uint8 H x W x 3 RGB, upright.

    Raises:
        RequestError: the picture is truncated or damaged, or no picture at all.
    """
    decoder = upright_rgb
    if isinstance(image, PlainJpeg):
        pixels = jpeg_pixels(image.content)
        if pixels is not None:
            return pixels
        image, decoder = open_picture(image.content), pillow_pixels
    try:
        return decoder(image)
    except Exception:  # noqa: BLE001 - Pillow's decoders raise almost anything for damaged data
        raise RequestError(
            "damaged-picture",
            f"the {image.format} data is truncated or damaged; save the picture again and resend.",
        ) from None
