"""The Open Inference Protocol at a real server, also as its usual clients speak it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from starlette.requests import Request
from tritonclient.utils import InferenceServerException

from serving.http.access import Access, ApiKey, hash_key
from serving.pictures.limits import MAX_BODY_BYTES
from serving.problems import KINDS, RequestError
from tests.graphs import CLASSES
from tests.pictures import bomb, encoded, photograph
from tests.serving.http.test_middleware import metric

PIXELS = np.asarray(photograph(40, 30))[None]  # (1, 30, 40, 3)
FILE = encoded(photograph(40, 30))
INFER = "/v2/models/tiny/infer"
KSERVE = os.environ.get("VITRINE_TEST_KSERVE")


def small(**fields: Any) -> dict[str, Any]:
    shape = list(PIXELS.shape)
    data = PIXELS.ravel().tolist()
    tensor = {"name": "images", "datatype": "UINT8", "shape": shape, "data": data}
    return {"inputs": [tensor | fields]}


def refused(response: httpx.Response, code: str) -> str:
    """Check that a refusal has the protocol's form; gives its reason."""
    assert response.headers["content-type"] == "application/json"
    assert response.status_code == KINDS[code].status, response.text
    content = response.json()
    assert set(content) == {"error", "code"}
    assert content["code"] == code
    reason = content["error"]
    assert isinstance(reason, str)
    return reason


def probabilities(http: httpx.Client, content: bytes) -> list[float]:
    """The answer of `classify`, in the order of the classes."""
    answer = http.post("/v1/models/tiny/classify?top=3", content=content).json()
    found = {each["class"]: each["probability"] for each in answer["pictures"][0]["top"]}
    return [found[name] for name in CLASSES]


def test_the_server_and_its_models_are_described(http: httpx.Client) -> None:
    about = http.get("/v2").json()
    assert about["name"] == "vitrine"
    assert about["extensions"] == ["binary_tensor_data", "classification"]
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    described = http.get("/v2/models/tiny").json()
    assert described["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}
    ]
    assert [each["name"] for each in described["outputs"]] == ["probabilities", "class"]


def test_an_answer_is_that_of_classify(http: httpx.Client) -> None:
    response = http.post(INFER, json={"id": "é-1", **small()})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["vitrine-model"] == "tiny"
    assert response.headers["x-request-id"]
    answer = response.json()
    assert (answer["model_name"], answer["id"]) == ("tiny", "é-1")
    shares, label = answer["outputs"]
    assert shares["shape"] == [1, 3]
    np.testing.assert_allclose(shares["data"], probabilities(http, FILE), atol=1e-6)
    assert label["data"] == [CLASSES[int(np.argmax(shares["data"]))]]


def test_requests_are_counted_as_others_are(http: httpx.Client) -> None:
    names = (
        'vitrine_requests_total{route="/v2/models/{name}/infer",status="200"}',
        'vitrine_pictures_total{model="tiny"}',
        'vitrine_batch_pictures_sum{model="tiny"}',
    )
    before = [metric(http, name) for name in names]
    assert http.post(INFER, json=small()).status_code == 200
    assert [metric(http, n) - b for n, b in zip(names, before, strict=True)] == [1, 1, 1]
    assert metric(http, "vitrine_pixels_in_flight") == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"not a picture", "unsupported-format"),
        (FILE[:-200], "damaged-picture"),
        (bomb(20_000), "picture-too-large"),
        (encoded(photograph(7, 7)), "picture-too-small"),
    ],
    ids=["text", "cut", "bomb", "small"],
)
def test_pictures_have_the_limits_of_other_addresses(
    http: httpx.Client, content: bytes, code: str
) -> None:
    elements = b"".join(len(each).to_bytes(4, "little") + each for each in (FILE, content))
    parameters = {"binary_data_size": len(elements)}
    tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    response = http.post(INFER, content=head + elements, headers=headers)
    assert refused(response, code).startswith("picture 1: ")


def test_tensors_have_the_limits_of_pictures(http: httpx.Client) -> None:
    narrow = small(shape=[1, 7, 7, 3], data=[0] * 147)
    assert "7x7" in refused(http.post(INFER, json=narrow), "picture-too-small")
    none = small(shape=[0, 8, 8, 3], data=[])
    refused(http.post(INFER, json=none), "no-picture")
    refused(http.post(INFER, content=bytes(MAX_BODY_BYTES + 1)), "body-too-large")


def test_refusals_have_the_form_of_the_protocol(http: httpx.Client) -> None:
    for path, code in (
        ("/v2/models/nobody", "unknown-model"),
        ("/v2/models/nobody/ready", "unknown-model"),
        ("/v2/models/broken/ready", "model-unavailable"),
        ("/v2/models/tiny/versions/3", "unknown-model"),
        ("/v2/nothing", "not-found"),
    ):
        refused(http.get(path), code)
    refused(http.post("/v2/models/nobody/infer", json=small()), "unknown-model")
    refused(http.delete("/v2"), "method-not-allowed")
    refused(http.post(INFER, content=b"{"), "bad-inference-request")
    zipped = {"Content-Encoding": "gzip"}
    refused(http.post(INFER, content=b"x", headers=zipped), "unsupported-body")
    beside = http.get("/v2nothing")
    assert beside.headers["content-type"] == "application/problem+json"


def closed(path: str, *addresses: str) -> bool:
    """Whether a server with these closed addresses refuses a request without a key."""
    key = ApiKey("k", frozenset({"read"}), hash_key("x"))
    access = Access(fixed=(key,), closed=addresses)
    scope = {"type": "http", "path": path, "headers": [], "method": "GET"}
    try:
        access.check_address(Request(scope))
    except RequestError as problem:
        return problem.code == "no-key"
    return False


def test_what_is_closed_natively_is_closed_here() -> None:
    assert closed("/v2/models/tiny/infer", "/v1/models")
    assert closed("/v2/models/tiny/infer", "/v1/models/tiny")
    assert closed("/v2/models/tiny/versions/3/infer", "/v1/models/tiny@3")
    assert closed("/v2/models/tiny", "/v2")
    assert closed("/v2/models/tiny", "/")
    assert not closed("/v2/models/other/infer", "/v1/models/tiny")
    assert not closed("/v2/health/ready", "/v1/models")


def tensor_of(values: np.ndarray, datatype: str, *, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("images", list(values.shape), datatype)
    return tensor.set_data_from_numpy(values, binary_data=binary)


def test_the_client_of_triton(url: str, http: httpx.Client) -> None:
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("tiny")["platform"] == "onnx_onnxv1"
    expected = probabilities(http, FILE)
    shares = (PIXELS.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    for tensor in (
        tensor_of(PIXELS, "UINT8"),
        tensor_of(PIXELS, "UINT8", binary=False),
        tensor_of(shares, "FP32"),
        tensor_of(np.array([FILE], object), "BYTES"),
    ):
        result = client.infer("tiny", [tensor], request_id="7")
        assert result.get_response()["id"] == "7"
        np.testing.assert_allclose(result.as_numpy("probabilities")[0], expected, atol=1e-6)
        assert result.as_numpy("class")[0].decode() == CLASSES[int(np.argmax(expected))]
    wanted = triton.InferRequestedOutput("probabilities", class_count=1, binary_data=False)
    result = client.infer("tiny", [tensor_of(PIXELS, "UINT8")], outputs=[wanted])
    value, index, label = result.as_numpy("probabilities")[0, 0].split(":")
    assert float(value) == pytest.approx(max(expected), abs=1e-6)
    assert CLASSES[int(index)] == label
    with pytest.raises(InferenceServerException, match="'images' is INT32") as caught:
        client.infer("tiny", [tensor_of(PIXELS.astype(np.int32), "INT32")])
    assert caught.value.status() == "400"
    client.close()


@pytest.mark.skipif(not KSERVE, reason="VITRINE_TEST_KSERVE names no Python that has kserve")
def test_the_client_of_kserve(url: str, http: httpx.Client, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(FILE)
    program = Path(__file__).with_name("kserve_client.py")
    done = subprocess.run(
        [str(KSERVE), program, url, "tiny", picture], capture_output=True, check=True
    )
    answers = json.loads(done.stdout)
    assert (answers["live"], answers["ready"], answers["model"]) == (True, True, True)
    expected = probabilities(http, FILE)
    for kind in ("file", "pixels", "json"):
        assert (answers[kind]["id"], answers[kind]["model"]) == (kind, "tiny")
        np.testing.assert_allclose(answers[kind]["probabilities"], [expected], atol=1e-6)
        assert answers[kind]["class"] == CLASSES[int(np.argmax(expected))]
    assert "no model is called 'nobody'" in answers["refusal"]
