"""The forms in which answers and refusals leave the server."""

import io
import math
from typing import Any

import numpy as np
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from pydantic_core import to_json

from serving.inference.served_model import ServedModel
from serving.observability import metrics
from serving.problems import MEDIA_TYPE, RequestError
from serving.schemas import NPY, ProblemDocument

OPEN_INFERENCE = "/v2"
"""The address of the Open Inference Protocol, with everything below it."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}},
    }
    for status, description in {
        "4XX": "The request is refused; `code` and `detail` say why.",
        "5XX": "The server cannot answer now; `code` and `detail` say why.",
    }.items()
}
"""What the OpenAPI document says about refusals, which every route can give."""
bearer = HTTPBearer(auto_error=False, description="not needed if the server has no API keys")
"""What it says about keys; `Access.check` enforces them."""


def json_response(answer: BaseModel) -> Response:
    """An answer as JSON."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


def npy_response(model: ServedModel, provider: str, array: np.ndarray) -> Response:
    """An array as a .npy file; headers name the model and the provider that gave it."""
    file = io.BytesIO()
    np.save(file, array)
    return Response(file.getvalue(), headers=stamp_headers(model, provider), media_type=NPY)


def stamp_headers(model: ServedModel, provider: str) -> dict[str, str]:
    """The headers that name the model and the provider of an answer that is not JSON."""
    return {
        "Vitrine-Model": model.name,
        "Vitrine-Model-Hash": model.stamp.hash,
        "Vitrine-Model-Synthetic": str(model.stamp.synthetic).lower(),
        "Vitrine-Provider": provider,
    }


def problem_response(problem: RequestError, path: str, headers: Any = None) -> Response:
    """A refusal in the form of its address.

    That is a problem document (RFC 9457), except where the Open Inference Protocol has its own.

    Args:
        problem: why the request is refused.
        path: of the request.
        headers: further headers of the answer.
    """
    more = dict(headers or {})
    if problem.passes:
        more["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if problem.code == "no-key":
        more["WWW-Authenticate"] = "Bearer"
    if problem.code in {"server-stopping", "request-too-slow"}:
        more["Connection"] = "close"
    metrics.refusals.labels(problem.code).inc()
    content, media_type = problem.content(), MEDIA_TYPE
    if path == OPEN_INFERENCE or path.startswith(f"{OPEN_INFERENCE}/"):
        content = {"error": problem.detail, "code": problem.code}
        media_type = "application/json"
    return Response(to_json(content), problem.status, more, media_type)
