"""The addresses of the Open Inference Protocol: `/v2`."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from artifacts.graph import INPUT
from artifacts.provenance import release
from serving.http.body import read_body
from serving.http.fast_path import count_verdicts
from serving.http.intake import MAX_INLINE_BYTES, Answerer, models_of, open_model
from serving.http.responses import OPEN_INFERENCE, stamp_headers
from serving.http.wrong_bodies import ENCODINGS
from serving.inference import results
from serving.inference.served_model import ServedModel
from serving.open_inference import answers
from serving.open_inference.requests import read_request
from serving.open_inference.schemas import (
    ErrorDocument,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from serving.open_inference.tensors import write
from serving.problems import RequestError

EXTENSIONS = ("binary_tensor_data", "classification")
JSON_LENGTH = "Inference-Header-Content-Length"
"""The header with the length of the JSON object, behind which binary data follows."""
BINARY = "application/octet-stream"
MODEL = "/models/{name}"
VERSION = "/models/{name}/versions/{version}"

Version = Annotated[str, Path(description="what follows the `@` in the name of an artifact")]
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorDocument, "description": "The request is refused; `error` says why."}
    for status in ("4XX", "5XX")
}
BINARY_SCHEMA = {"schema": {"type": "string", "format": "binary"}}
_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": [INPUT]},
        "datatype": {"type": "string", "enum": ["UINT8", "FP32", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4096}},
        "parameters": {"type": "object", "description": "binary_data_size"},
        "data": {"type": "array", "items": {}, "description": "row by row; BYTES in base64"},
    },
}
_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parameters": {"type": "object", "description": "binary_data, classification"},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object", "description": "binary_data_output"},
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _TENSOR},
        "outputs": {"type": "array", "items": _OUTPUT},
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A JSON object, and with the header Inference-Header-Content-Length binary "
        "data behind it.",
        "content": {
            "application/json": {"schema": _REQUEST},
            BINARY: BINARY_SCHEMA,
        },
    }
}
"""What the OpenAPI document says about the body of an inference request."""
INFER: dict[str, Any] = {
    "openapi_extra": BODY,
    "response_class": Response,
    "responses": {200: {"model": InferenceResponse, "content": {BINARY: BINARY_SCHEMA}}},
}


def open_inference_routes(answer: Answerer) -> APIRouter:
    """Make the router of the protocol's addresses.

    Args:
        answer: runs a model on the pictures of a request.
    """
    router = APIRouter(prefix=OPEN_INFERENCE, tags=["Open Inference Protocol"], responses=REFUSALS)
    server = ServerMetadata(name="vitrine", version=release(), extensions=EXTENSIONS)

    @router.get("")
    async def about() -> ServerMetadata:
        """Describe the server."""
        return server

    @router.get("/health/live")
    async def live() -> ServerLive:
        """Tell whether the server runs."""
        return ServerLive(live=True)

    @router.get("/health/ready")
    async def ready(request: Request) -> ServerReady:
        """Tell whether the server answers requests."""
        if not models_of(request).served:
            raise RequestError("model-unavailable", "there is no model to serve.")
        return ServerReady(ready=True)

    _add_model_routes(router, answer)
    return router


def _add_model_routes(router: APIRouter, answer: Answerer) -> None:
    @router.get(MODEL)
    async def model(request: Request, name: str) -> ModelMetadata:
        """Describe the inputs and outputs of a model."""
        return answers.metadata(models_of(request), models_of(request).get(name))

    @router.get(VERSION)
    async def version(request: Request, name: str, version: Version) -> ModelMetadata:
        """Describe the inputs and outputs of one version of a model."""
        return answers.metadata(models_of(request), _version(request, name, version))

    @router.get(f"{MODEL}/ready")
    async def model_ready(request: Request, name: str) -> ModelReady:
        """Tell whether a model answers."""
        return _ready(models_of(request).get(name))

    @router.get(f"{VERSION}/ready")
    async def version_ready(request: Request, name: str, version: Version) -> ModelReady:
        """Tell whether one version of a model answers."""
        return _ready(_version(request, name, version))

    @router.post(f"{MODEL}/infer", **INFER)
    async def model_infer(request: Request, name: str) -> Response:
        """Answer pictures, in tensors of numbers or as files, with tensors."""
        return await _inferred(answer, request, models_of(request).get(name))

    @router.post(f"{VERSION}/infer", **INFER)
    async def version_infer(request: Request, name: str, version: Version) -> Response:
        """Answer pictures, in tensors of numbers or as files, with one version of a model."""
        return await _inferred(answer, request, _version(request, name, version))


async def _inferred(answer: Answerer, request: Request, model: ServedModel) -> Response:
    body = await read_body(request)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ENCODINGS:
        raise RequestError(
            "unsupported-body", f"the body is encoded as {encoding}; send it as it is."
        )
    length = request.headers.get(JSON_LENGTH)
    if len(body) <= MAX_INLINE_BYTES:
        asked = read_request(body, length)
    else:
        asked = await asyncio.to_thread(read_request, body, length)
    wanted = answers.check_outputs(model, asked)
    await open_model(model)
    names = answers.graph_outputs(model)
    prepared, computed = await answer.of(request, model, asked.pictures, names)
    classified = None
    if model.manifest.task != "embedding":
        classified = results.classification(model, prepared, computed, top=1)
        count_verdicts(model, classified)
    tensors = answers.outputs(model, computed, classified, wanted, binary=asked.binary)
    content, json_length = write(tensors, *answers.name_and_version(model), asked.id)
    headers = stamp_headers(model, model.runtime.provider)
    if json_length is None:
        return Response(content, headers=headers, media_type="application/json")
    headers[JSON_LENGTH] = str(json_length)
    return Response(content, headers=headers, media_type=BINARY)


def _version(request: Request, name: str, version: str) -> ServedModel:
    return models_of(request).get(f"{name}@{version}")


def _ready(model: ServedModel) -> ModelReady:
    name, _ = answers.name_and_version(model)
    return ModelReady(name=name, ready=True)
