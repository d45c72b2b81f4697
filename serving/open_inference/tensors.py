"""Writes the answer to an inference request: a JSON object, and perhaps binary data behind it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.open_inference.requests import LENGTH
from serving.open_inference.schemas import (
    AnswerParameters,
    Datatype,
    InferenceResponse,
    ResponseOutput,
)


class Tensor(NamedTuple):
    """An output: numbers, or strings in an array of objects."""

    name: str
    values: npt.NDArray[Any]
    binary: bool
    """Whether its data follows the JSON object."""

    @property
    def datatype(self) -> Datatype:
        """What the protocol calls the type of its elements."""
        names: dict[str, Datatype] = {"f": "FP32", "b": "BOOL", "O": "BYTES"}
        return names[self.values.dtype.kind]


def write(
    tensors: Sequence[Tensor], model: str, version: str | None, id_: str | None
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON object if more follows it.

    Args:
        tensors: the outputs, in the order asked for.
        model: name of the model, without its version.
        version: of the model; None if it has none.
        id_: of the request; None if it has none.
    """
    parts = [_bytes(tensor.values) if tensor.binary else None for tensor in tensors]
    outputs = tuple(
        ResponseOutput(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=tensor.values.shape,
            parameters=None if part is None else AnswerParameters(binary_data_size=len(part)),
            data=tensor.values.ravel().tolist() if part is None else None,
        )
        for tensor, part in zip(tensors, parts, strict=True)
    )
    answer = InferenceResponse(model_name=model, model_version=version, id=id_, outputs=outputs)
    head = answer.model_dump_json(exclude_none=True).encode()
    binary = [part for part in parts if part is not None]
    return b"".join((head, *binary)), len(head) if binary else None


def _bytes(values: npt.NDArray[Any]) -> bytes:
    if values.dtype.kind != "O":
        return values.astype(values.dtype.newbyteorder("<")).tobytes()
    texts = [text.encode() for text in values.ravel().tolist()]
    return b"".join(LENGTH.pack(len(text)) + text for text in texts)


def strings(texts: Any) -> npt.NDArray[np.object_]:
    """Return strings, or lists of them of one length, as a tensor's values."""
    return np.array(texts, dtype=object)
