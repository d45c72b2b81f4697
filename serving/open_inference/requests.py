"""Reads inference requests: a JSON object, and perhaps binary tensors behind it.

Pictures come as one input, `images`, in one of three datatypes:

- UINT8, N x H x W x 3: RGB pictures of one size, 0 to 255;
- FP32, N x 3 x H x W: RGB pictures of one size, 0 to 1, as torchvision's `ToTensor` makes them;
- BYTES, N: encoded pictures of any mix of sizes and formats.
"""

import struct
from base64 import b64decode
from binascii import Error as Base64Error
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from artifacts.graph import INPUT
from artifacts.pictures import Picture
from serving.open_inference.schemas import InferenceRequest, RequestInput, RequestOutput
from serving.pictures.limits import MAX_PICTURES
from serving.problems import RequestError

MAX_JSON_BYTES = 8_000_000
"""Bytes of the JSON object: parsed, it takes up to 25 times as much memory."""
LENGTH = struct.Struct("<I")
"""The length before each element of a binary BYTES tensor."""
FORMS = (
    "UINT8 [N, H, W, 3] (RGB, 0 to 255), FP32 [N, 3, H, W] (RGB, 0 to 1) or BYTES [N] (JPEG, PNG, "
    "WebP, BMP or GIF files)"
)


class Asked(NamedTuple):
    """An inference request, read and checked."""

    id: str | None
    pictures: list[bytes] | list[Picture]
    """Encoded pictures, or uint8 H x W x 3."""
    outputs: list[RequestOutput] | None
    """None if all are wanted."""
    binary: bool
    """Whether outputs that do not say otherwise are wanted as binary data."""


def read_request(body: bytes, header_length: str | None) -> Asked:
    """Read the body of an inference request.

    Args:
        body: the whole body.
        header_length: value of `Inference-Header-Content-Length`, the length of the JSON object;
            None if it was not sent, and the body is nothing but the JSON object.

    Raises:
        RequestError: the request is not valid, or has something that is not supported.
    """
    end = len(body)
    if header_length is not None:
        # the digits are bounded, because reading millions of them takes long
        if not (header_length.isdecimal() and len(header_length) < 10) or int(header_length) > end:  # noqa: PLR2004
            raise _refused(
                f"Inference-Header-Content-Length is {header_length[:20]!r}; the length of the "
                f"JSON object in bytes is expected, at most the {end} bytes of the body."
            )
        end = int(header_length)
    if end > MAX_JSON_BYTES:
        raise RequestError(
            "body-too-large",
            f"the JSON object has more than {MAX_JSON_BYTES // 1_000_000} MB; send tensors as "
            "binary data (binary_data_size, Inference-Header-Content-Length), or fewer pictures.",
        )
    try:
        given = InferenceRequest.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the JSON object"
        raise _refused(f"{where}: {first['msg']}.") from None
    if len(given.inputs) != 1 or given.inputs[0].name != INPUT:
        names = ", ".join(repr(each.name[:40]) for each in given.inputs[:5]) or "none"
        raise _refused(f"the inputs are {names}; exactly one, {INPUT!r}, is expected: {FORMS}.")
    for part in (*given.inputs, *(given.outputs or ())):
        if part.parameters.shared_memory_region is not None:
            raise _refused(f"{part.name[:40]!r} is in shared memory, which is not supported.")
    pictures = _pictures(given.inputs[0], body[end:])
    return Asked(given.id, pictures, given.outputs, given.parameters.binary_data_output)


def _pictures(tensor: RequestInput, binary: bytes) -> list[bytes] | list[Picture]:
    """Return the pictures of the input, with what follows the JSON object."""
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise _refused(f"{INPUT!r} needs either `data` or the parameter `binary_data_size`.")
    if (size or 0) != len(binary):
        raise _refused(
            f"{len(binary)} bytes follow the JSON object, and binary_data_size is {size or 0}; "
            "send as many as it says, and the length of the JSON object in the header "
            "Inference-Header-Content-Length."
        )
    shape = tuple(tensor.shape)
    if shape and shape[0] > MAX_PICTURES:
        raise _refused(f"{shape[0]} pictures; at most {MAX_PICTURES} are accepted in a request.")
    data = None if size is not None else tensor.data
    match tensor.datatype, shape:
        case "BYTES", (count,):
            return _strings(binary, count) if data is None else _base64(data, count)
        case "UINT8", (_, _, _, 3):
            return list(_numbers(data, binary, np.dtype("u1"), shape))
        case "FP32", (_, 3, _, _):
            return list(_from_shares(_numbers(data, binary, np.dtype("<f4"), shape)))
    raise _refused(f"{INPUT!r} is {tensor.datatype[:20]} {list(shape)[:9]}; {FORMS} is expected.")


def _numbers(data: Any, binary: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """Return a tensor of numbers, from JSON unless `data` is None."""
    count = prod(shape)
    if data is None:
        if len(binary) != count * dtype.itemsize:
            raise _refused(
                f"{len(binary)} bytes of data; shape {list(shape)} needs {count * dtype.itemsize}."
            )
        return np.frombuffer(binary, dtype).reshape(shape)
    flat = _flat(data, {int} if dtype.kind == "u" else {int, float}, count)
    try:
        return np.array(flat, dtype).reshape(shape)
    except OverflowError:
        raise _refused("the values of UINT8 lie between 0 and 255.") from None


def _from_shares(tensor: npt.NDArray[np.float32]) -> Picture:
    """Return N x 3 x H x W of 0 to 1 as uint8 N x H x W x 3."""
    # not a number fails the comparison, too
    if tensor.size and not (tensor.min() >= 0 and tensor.max() <= 1):
        raise _refused(
            "values of FP32 lie between 0 and 1; send pictures that are not normalised, because "
            "the model's graph normalises them."
        )
    pixels = np.rint(tensor * 255).astype(np.uint8)  # (N, 3, H, W)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))  # (N, H, W, 3)


def _strings(binary: bytes, count: int) -> list[bytes]:
    """Return the elements of a binary BYTES tensor."""
    elements = []
    place = 0
    for _ in range(count):
        start = place + LENGTH.size
        if start > len(binary):
            break
        place = start + LENGTH.unpack_from(binary, place)[0]
        elements.append(binary[start:place])
    if len(elements) != count or place != len(binary):
        raise _refused(
            f"the binary data is not {count} elements, each of them a length (4 bytes, little "
            "endian) and as many bytes."
        )
    return elements


def _base64(data: Any, count: int) -> list[bytes]:
    try:
        return [b64decode(each, validate=True) for each in _flat(data, {str}, count)]
    except (Base64Error, ValueError):
        raise _refused(
            "BYTES in JSON are base64 (RFC 4648), without line breaks; or send them as binary data."
        ) from None


def _flat(data: list[Any], types: set[type], count: int) -> list[Any]:
    """Return the elements of nested lists, row by row, if all are of these types."""
    found = set(map(type, data))
    while found == {list}:
        data = list(chain.from_iterable(data))
        found = set(map(type, data))
    if not found <= types or len(data) != count:
        named = " or ".join(sorted(each.__name__ for each in types))
        raise _refused(f"`data` holds {len(data)} elements; {count} of {named} are expected.")
    return data


def _refused(reason: str) -> RequestError:
    return RequestError("bad-inference-request", reason)
