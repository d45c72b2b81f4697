"""Decodes the pictures of requests with the decoder that training uses, `artifacts.pictures`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from PIL import Image

from artifacts import InputPolicy
from artifacts.pictures import Picture, jpeg_pixels, pillow_pixels, upright_rgb, upright_size
from artifacts.preprocessing import Prepared, prepare_and_tell
from serving.observability.tracing import span
from serving.pictures.cancellation import still_wanted
from serving.pictures.header import Openable, Opened, PlainJpeg, open_picture, open_pictures
from serving.problems import RequestError

Made = TypeVar("Made")


def read_pictures(sources: Sequence[bytes | Picture], policy: InputPolicy) -> list[Picture]:
    """Decode the pictures of one request: `open_pictures`, then `decode_pictures`."""
    return decode_pictures(open_pictures(sources, policy))


def read_prepared(sources: Sequence[bytes | Picture], policy: InputPolicy) -> list[Prepared]:
    """Prepare the pictures of one request: `open_pictures`, then `prepare_pictures`."""
    return prepare_pictures(open_pictures(sources, policy), policy)


def decode_pictures(opened: Opened) -> list[Picture]:
    """Decode opened pictures, for as long as somebody waits for them.

    Args:
        opened: the pictures of a request.

    Returns:
        uint8 H x W x 3 RGB arrays, as `artifacts.pictures.upright_rgb` makes them.

    Raises:
        RequestError: names the first damaged picture, counted from 0.
        Cancelled: nobody waits any more.
    """
    return _each(opened, 0, None, decode)


def prepare_pictures(
    opened: Opened, policy: InputPolicy, start: int = 0, stop: int | None = None
) -> list[Prepared]:
    """Decode opened pictures and prepare them for a graph, as `decode_and_prepare` does.

    Args:
        opened: the pictures of a request.
        policy: of the graph.
        start: index of the first picture to decode.
        stop: index after the last one; all of the rest by default.

    Raises:
        RequestError: names the first damaged picture, counted from 0.
        Cancelled: nobody waits any more.
    """
    return _each(opened, start, stop, lambda image: decode_and_prepare(image, policy))


def decode_and_prepare(image: Openable, policy: InputPolicy) -> Prepared:
    """Decode an opened picture and prepare it for a graph.

    Of a JPEG that is shrunk anyway, the decoder computes no more pixels than that needs.

    Raises:
        RequestError: the picture is truncated or damaged, or no picture at all.
    """
    if isinstance(image, np.ndarray):
        return prepare_and_tell(image, policy)
    if isinstance(image, Image.Image) and image.format != "JPEG":
        return prepare_and_tell(decode(image), policy)
    size = upright_size(image) if isinstance(image, Image.Image) else image.size
    return prepare_and_tell(decode(image, policy.reduction(*size)), policy, size)


def decode(image: Openable, reduction: int = 1) -> Picture:
    """Decode an opened picture to uint8 H x W x 3 RGB, upright.

    Args:
        image: opened, or an array, which is returned as it is.
        reduction: of a JPEG; see `artifacts.pictures.upright_rgb`.

    Raises:
        RequestError: the picture is truncated or damaged, or no picture at all.
    """
    if isinstance(image, np.ndarray):
        return image
    decoder: Callable[[Image.Image], Picture] = partial(upright_rgb, reduction=reduction)
    if isinstance(image, PlainJpeg):
        pixels = jpeg_pixels(image.content, image.size, reduction)
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


def _each(
    opened: Opened, start: int, stop: int | None, make: Callable[[Openable], Made]
) -> list[Made]:
    """Make something of each opened picture, for as long as somebody waits."""
    made = []
    wanted = opened.images[start:stop]
    with span("decode", pictures=len(wanted)):
        for index, image in enumerate(wanted, start):
            still_wanted()
            try:
                made.append(make(image))
            except RequestError as error:
                raise error.at(index) from None
    still_wanted()
    return made
