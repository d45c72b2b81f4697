"""Long sequences of pictures in requests of bounded size, and one answer out of theirs."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts import VitrineError
from artifacts.runtime import Picture
from serving.pictures.header import open_picture, size_of
from serving.pictures.limits import MAX_BODY_BYTES, MAX_REQUEST_PIXELS
from serving.problems import RequestError
from serving.schemas import Classification, Inspection, Layer, Neighbours, Stamp

ByPicture = TypeVar("ByPicture", Classification, Neighbours)

Source = bytes | Picture
"""A picture: encoded, or uint8 H x W x 3 RGB."""
Rows = npt.NDArray[np.float32]

CHUNK_PICTURES = 64
CHUNK_BYTES = MAX_BODY_BYTES // 2
CHUNK_PIXELS = MAX_REQUEST_PIXELS // 4


class ServerError(VitrineError):
    """No Vitrine server answers as one is expected to."""


class UnreachableError(ServerError):
    """No server answers at all: it may be back soon."""


def encode(source: Source) -> bytes:
    """A picture as a file, without loss; what is encoded already stays as it is.

    BMP: on loopback its bytes cost less than PNG's compression, by a factor of 4 to 10.
    """
    if isinstance(source, bytes):
        return source
    file = io.BytesIO()
    Image.fromarray(source).save(file, "BMP")
    return file.getvalue()


def picture_form(pictures: Sequence[Source]) -> list[tuple[str, tuple[str, bytes]]]:
    """The form fields that pictures are sent in, as httpx takes them."""
    return [("image", ("picture", encode(picture))) for picture in pictures]


def merge(answers: Sequence[Inspection]) -> Inspection:
    """Join inspections of the same model over different pictures, weighted by their number.

    Raises:
        ServerError: the model was exchanged in between.
    """
    check_same_model([answer.model for answer in answers])
    weights = np.array([answer.pictures for answer in answers], np.float64)
    layers = []
    for parts in zip(*(answer.layers for answer in answers), strict=True):
        table = np.array([part.channel_zeros for part in parts])  # (chunks, C)
        by_channel = weights @ table / weights.sum()
        layers.append(_layer(parts[0], by_channel, _mean([part.small for part in parts], weights)))
    total = sum(answer.pictures for answer in answers)
    return answers[0].model_copy(update={"pictures": total, "layers": tuple(layers)})


def _layer(layer: Layer, by_channel: npt.NDArray[np.float64], small: float | None) -> Layer:
    zeros = {"zeros": float(by_channel.mean()), "channel_zeros": tuple(by_channel.tolist())}
    return layer.model_copy(update={**zeros, "small": small})


def _mean(shares: Sequence[float | None], weights: npt.NDArray[np.float64]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.average(known, weights=weights)) if known else None


def join(answers: Sequence[ByPicture]) -> ByPicture:
    """One answer about all pictures from those about chunks of them.

    Raises:
        ServerError: as `check_same_model`.
    """
    check_same_model([answer.model for answer in answers])
    pictures = tuple(picture for answer in answers for picture in answer.pictures)
    return answers[0].model_copy(update={"pictures": pictures})


def check_same_model(stamps: Sequence[Stamp]) -> None:
    """Hold answers that are joined to one model.

    Raises:
        ServerError: the model was exchanged in between.
    """
    if any(stamp != stamps[0] for stamp in stamps):
        raise ServerError("the model was exchanged between two requests; ask again.")


def chunks(pictures: Sequence[Source]) -> Iterator[tuple[int, list[Source]]]:
    """Yield (index of the first, pictures) within the bounds of a chunk; one at the least.

    Raises:
        RequestError: there are none.
    """
    if len(pictures) == 0:
        raise RequestError("no-picture", "no picture was given; give at least one.")
    start, chunk = 0, list[Source]()
    size = pixels = 0
    for index, picture in enumerate(pictures):
        more_size, more_pixels = _cost(picture)
        full = len(chunk) == CHUNK_PICTURES or size + more_size > CHUNK_BYTES
        if chunk and (full or pixels + more_pixels > CHUNK_PIXELS):
            yield start, chunk
            start, chunk, size, pixels = index, [], 0, 0
        chunk.append(picture)
        size, pixels = size + more_size, pixels + more_pixels
    yield start, chunk


@contextmanager
def placed(start: int, pictures: int) -> Iterator[None]:
    """Let a refusal within name the picture by its place in the whole sequence.

    Args:
        start: place of the first picture that is asked about within.
        pictures: how many these are. Of one alone it is said, too, that the request is too large.
    """
    try:
        yield
    except RequestError as error:
        alone = pictures == 1 and error.code == "body-too-large"
        picture = 0 if alone else error.picture
        raise error if picture is None else error.at(start + picture) from None


def source_size(source: Source) -> tuple[int, int]:
    """Width and height, px, as sent: before a picture is turned upright.

    Raises:
        RequestError: it is no picture that is accepted.
    """
    return size_of(open_picture(source) if isinstance(source, bytes) else source)


def _cost(source: Source) -> tuple[int, int]:
    """Bytes to send, and pixels to decode."""
    if not isinstance(source, bytes):
        return source.nbytes, source.size // 3
    try:
        width, height = source_size(source)
    except RequestError:
        return len(source), 0  # refused when asked, with its place
    return len(source), width * height
