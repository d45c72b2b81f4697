"""Splits long sequences of pictures into requests of bounded size and joins their answers."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts import VitrineError
from artifacts.pictures import Picture
from serving.faces.schemas import EachEmbedded, EachIdentified
from serving.pictures.header import open_picture, size_of
from serving.pictures.limits import MAX_BODY_BYTES, MAX_REQUEST_PIXELS
from serving.problems import RequestError
from serving.schemas import (
    Classification,
    EachClassification,
    EachNeighbours,
    Inspection,
    Layer,
    Neighbours,
    RefusedPicture,
    Stamp,
)

Answer = TypeVar("Answer")
ByPicture = TypeVar("ByPicture", Classification, Neighbours)
Each = TypeVar("Each", EachClassification, EachNeighbours, EachEmbedded, EachIdentified)

Source = bytes | Picture
"""A picture: the bytes of an encoded file, or uint8 H x W x 3 RGB."""
Rows = npt.NDArray[np.float32]
"""Features, N x D, or a feature map, C x H x W."""

CHUNK_PICTURES = 64
"""Maximum number of pictures in one request."""
CHUNK_BYTES = MAX_BODY_BYTES // 2
"""Maximum size of the pictures in one request, in bytes, unless one alone is larger."""
CHUNK_PIXELS = MAX_REQUEST_PIXELS // 4
"""Maximum number of pixels in one request, unless one picture alone has more."""


class ServerError(VitrineError):
    """There is no answer, or one that a Vitrine server would not give."""


class UnreachableError(ServerError):
    """No server answers; the same call may succeed later."""


def encode(source: Source) -> bytes:
    """Encode a picture without loss; encoded pictures are returned unchanged.

    The format is BMP: on loopback, sending its bytes costs 4 to 10 times less than PNG's
    compression.
    """
    if isinstance(source, bytes):
        return source
    file = io.BytesIO()
    Image.fromarray(source).save(file, "BMP")
    return file.getvalue()


def merge(answers: Sequence[Inspection]) -> Inspection:
    """Join inspections of different pictures, each weighted by its number of pictures.

    Raises:
        ServerError: see `check_same_model`.
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
    """Join the answers about chunks of pictures to one answer about all of them.

    Raises:
        ServerError: see `check_same_model`.
    """
    check_same_model([answer.model for answer in answers])
    pictures = tuple(picture for answer in answers for picture in answer.pictures)
    return answers[0].model_copy(update={"pictures": pictures})


def join_each(answers: Sequence[Each]) -> Each:
    """Join such answers about chunks of pictures, whose indices then count through all of them.

    Raises:
        ServerError: see `check_same_model`.
    """
    check_same_model([answer.model for answer in answers])
    entries = enumerate(picture for answer in answers for picture in answer.pictures)
    pictures = tuple(entry.at(index, entry.name) for index, entry in entries)
    first = next((answer for answer in answers if _answered(answer)), answers[0])
    return first.model_copy(update={"pictures": pictures})


def _answered(answer: Each) -> bool:
    """Whether a picture was answered, so that the answer has all that holds for all pictures."""
    return any(not isinstance(entry, RefusedPicture) for entry in answer.pictures)


def check_same_model(stamps: Sequence[Stamp]) -> None:
    """Check that answers which are joined come from one model.

    Raises:
        ServerError: the model was replaced between two requests.
    """
    if any(stamp != stamps[0] for stamp in stamps):
        raise ServerError("the model was replaced between two requests; repeat the call.")


def chunks(pictures: Sequence[Source]) -> Iterator[tuple[int, list[Source]]]:
    """Yield the pictures in chunks, each with the index of its first picture.

    A chunk keeps within `CHUNK_PICTURES`, `CHUNK_BYTES` and `CHUNK_PIXELS`, or holds one picture.

    Raises:
        RequestError: the sequence is empty.
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


def ask_each(
    ask: Callable[[list[Source]], Answer],
    pictures: Sequence[Source],
    mapper: Callable[..., Iterator[Any]] = map,
) -> list[Answer]:
    """Return the answers about all chunks of the pictures, in order.

    Args:
        ask: answers one chunk.
        pictures: at least one.
        mapper: applies a function to all chunks, as `map` does; that of an executor does it in
            parallel.

    Raises:
        RequestError: a picture is refused; its index is that in the whole sequence.
    """

    def ask_at(start_and_chunk: tuple[int, list[Source]]) -> Answer:
        start, chunk = start_and_chunk
        with picture_index_from(start, len(chunk)):
            return ask(chunk)

    return list(mapper(ask_at, chunks(pictures)))


@contextmanager
def picture_index_from(start: int, pictures: int) -> Iterator[None]:
    """Correct the picture index of a `RequestError` about one chunk of a sequence.

    Args:
        start: index of the chunk's first picture in the whole sequence.
        pictures: number of pictures in the chunk. If there is only one, a refusal of the body as
            too large counts as a refusal of that picture.
    """
    try:
        yield
    except RequestError as error:
        alone = pictures == 1 and error.code == "body-too-large"
        picture = 0 if alone else error.picture
        raise error if picture is None else error.at(start + picture) from None


def source_size(source: Source) -> tuple[int, int]:
    """Width and height in pixels, before the picture is turned upright.

    Raises:
        RequestError: the format is not accepted.
    """
    return size_of(open_picture(source) if isinstance(source, bytes) else source)


def _cost(source: Source) -> tuple[int, int]:
    """Number of bytes to send and of pixels to decode."""
    if not isinstance(source, bytes):
        return source.nbytes, source.size // 3
    try:
        width, height = source_size(source)
    except RequestError:
        return len(source), 0  # the server refuses it, with its index
    return len(source), width * height
