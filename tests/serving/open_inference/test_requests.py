"""Inference requests: what is read of them, and what is refused."""

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest

from serving.open_inference.requests import MAX_JSON_BYTES, read_request
from serving.pictures.limits import MAX_PICTURES
from serving.problems import RequestError
from tests.pictures import encoded, photograph

PIXELS = np.stack([np.asarray(photograph(12, 10, seed)) for seed in range(2)])  # (2, 10, 12, 3)
FILES = [encoded(photograph(12, 10)), encoded(photograph(20, 9), "JPEG")]
ELEMENTS = b"".join(struct.pack("<I", len(each)) + each for each in FILES)


def tensor(datatype: str, shape: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "images", "datatype": datatype, "shape": shape, **fields}


def binary(datatype: str, shape: Any, content: bytes) -> tuple[bytes, str]:
    """A body with one binary tensor, and the length of its JSON object."""
    parameters = {"binary_data_size": len(content)}
    head = json.dumps({"inputs": [tensor(datatype, shape, parameters=parameters)]}).encode()
    return head + content, str(len(head))


def as_json(datatype: str, shape: Any, data: Any) -> tuple[bytes, None]:
    return json.dumps({"inputs": [tensor(datatype, shape, data=data)]}).encode(), None


SHARES = (PIXELS.transpose(0, 3, 1, 2) / 255).astype("<f4")
NUMBERS = {
    "UINT8, binary": binary("UINT8", PIXELS.shape, PIXELS.tobytes()),
    "UINT8, nested": as_json("UINT8", PIXELS.shape, PIXELS.tolist()),
    "UINT8, flat": as_json("UINT8", PIXELS.shape, PIXELS.ravel().tolist()),
    "FP32, binary": binary("FP32", SHARES.shape, SHARES.tobytes()),
    "FP32, nested": as_json("FP32", SHARES.shape, SHARES.tolist()),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_the_same_pictures_in_every_form(name: str) -> None:
    asked = read_request(*NUMBERS[name])
    for found, expected in zip(asked.pictures, PIXELS, strict=True):
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)
    assert (asked.id, asked.outputs, asked.binary) == (None, None, False)


def test_files_arrive_as_they_are() -> None:
    assert read_request(*binary("BYTES", [2], ELEMENTS)).pictures == FILES
    texts = [base64.b64encode(each).decode() for each in FILES]
    assert read_request(*as_json("BYTES", [2], texts)).pictures == FILES


def test_the_rest_of_a_request_is_read() -> None:
    request = {
        "id": "42",
        "parameters": {"binary_data_output": True, "priority": 3},
        "inputs": [tensor("UINT8", PIXELS.shape, data=PIXELS.tolist())],
        "outputs": [{"name": "class", "parameters": {"binary_data": False}}],
    }
    asked = read_request(json.dumps(request).encode(), None)
    assert (asked.id, asked.binary) == ("42", True)
    assert asked.outputs is not None
    assert (asked.outputs[0].name, asked.outputs[0].parameters.binary_data) == ("class", False)


SMALL = tensor("UINT8", [1, 1, 1, 3], data=[1, 2, 3])
WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (b"\xff\xd8", "the JSON object: Invalid JSON"),
    "empty": (b"", "the JSON object: Invalid JSON"),
    "deep": (b'{"inputs": ' + b"[" * 100_000, "the JSON object: Invalid JSON"),
    "a list": (b"[]", "the JSON object: "),
    "no inputs": ({}, "inputs: Field required"),
    "none": ({"inputs": []}, "the inputs are none; exactly one, 'images'"),
    "another name": ({"inputs": [SMALL | {"name": "x"}]}, "the inputs are 'x'"),
    "two": ({"inputs": [SMALL, SMALL]}, "exactly one"),
    "id": ({"id": 3, "inputs": [SMALL]}, "id: "),
    "shape": ({"inputs": [SMALL | {"shape": [1, 1, -1, 3]}]}, "inputs.0.shape.2: "),
    "huge shape": ({"inputs": [SMALL | {"shape": [2**40, 1, 1, 3]}]}, "inputs.0.shape.0: "),
    "datatype": ({"inputs": [SMALL | {"datatype": "INT8"}]}, "'images' is INT8"),
    "layout": ({"inputs": [SMALL | {"shape": [1, 3, 1, 1]}]}, "UINT8 [N, H, W, 3]"),
    "no data": ({"inputs": [SMALL | {"data": None}]}, "either `data` or"),
    "count": ({"inputs": [SMALL | {"data": [1, 2]}]}, "`data` holds 2 elements; 3 of int"),
    "ragged": ({"inputs": [SMALL | {"data": [[1], 2, 3]}]}, "3 of int"),
    "texts": ({"inputs": [SMALL | {"data": ["1", "2", "3"]}]}, "3 of int"),
    "truths": ({"inputs": [SMALL | {"data": [True, True, True]}]}, "3 of int"),
    "fractions": ({"inputs": [SMALL | {"data": [1, 2, 3.5]}]}, "3 of int"),
    "range": ({"inputs": [SMALL | {"data": [1, 2, 256]}]}, "between 0 and 255"),
    "normalised": (
        {"inputs": [tensor("FP32", [1, 3, 1, 1], data=[-1.5, 0, 1])]},
        "not normalised",
    ),
    "no number": (
        b'{"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 1, 1], '
        b'"data": [0, 1, NaN]}]}',
        "not normalised",
    ),
    "base64": ({"inputs": [tensor("BYTES", [1], data=["%"])]}, "base64"),
    "many": ({"inputs": [tensor("BYTES", [MAX_PICTURES + 1], data=[])]}, "at most 1000"),
    "memory": ({"inputs": [SMALL | {"parameters": {"shared_memory_region": "r"}}]}, "shared"),
    "unsent": (
        {"inputs": [SMALL | {"data": None, "parameters": {"binary_data_size": 3}}]},
        "0 bytes follow the JSON object, and binary_data_size is 3",
    ),
    "too much text": (b" " * (MAX_JSON_BYTES + 1), "more than 8 MB"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    given, reason = WRONG[name]
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    with pytest.raises(RequestError) as caught:
        read_request(body, None)
    assert caught.value.code in {"bad-inference-request", "body-too-large"}
    assert reason in caught.value.detail
    assert len(caught.value.detail) < 400


@pytest.mark.parametrize("length", ["", "-1", "x", "²", "1e2", "9" * 5000, "1000000"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    body, _ = as_json("UINT8", [1, 1, 1, 3], [1, 2, 3])
    with pytest.raises(RequestError, match="Inference-Header-Content-Length"):
        read_request(body, length)


@pytest.mark.parametrize(
    ("datatype", "shape", "content"),
    [
        ("UINT8", [2, 10, 12, 3], PIXELS.tobytes()[:-1]),
        ("UINT8", [1, 10, 12, 3], PIXELS.tobytes()),
        ("FP32", [2, 3, 10, 12], PIXELS.tobytes()),
        ("BYTES", [2], ELEMENTS[:-1]),
        ("BYTES", [2], ELEMENTS + b"x"),
        ("BYTES", [3], ELEMENTS),
        ("BYTES", [1], ELEMENTS),
        ("BYTES", [1], b"\xff\xff\xff\xff"),
        ("BYTES", [1], b"\0"),
    ],
)
def test_binary_data_has_the_size_of_its_shape(
    datatype: str, shape: list[int], content: bytes
) -> None:
    with pytest.raises(RequestError, match="bytes"):
        read_request(*binary(datatype, shape, content))
    body, length = binary(datatype, shape, content)
    with pytest.raises(RequestError, match="bytes follow the JSON object"):
        read_request(body[:-1], length)
