"""Routes that answer from one output of a model: its classes or its features."""

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from serving.http.body import PICTURE_FIELD, picture_body
from serving.http.fast_path import BY_NAME, BY_ROUTE, TOP, classified
from serving.http.intake import Answerer, models_of
from serving.http.responses import NPY, json_response, npy_response
from serving.inference import results
from serving.inference.models import ROUTES
from serving.schemas import Classification, Features

Top = Annotated[int, Query(ge=1, description="number of classes to return")]
ModelName = Annotated[
    str | None, Query(description="name of a model of this route; the best model by default")
]

PICTURES = picture_body((PICTURE_FIELD,))


def add_classify_routes(app: FastAPI, answer: Answerer) -> None:
    """Add the routes that classify pictures or return their features.

    Args:
        app: the application to add them to.
        answer: runs a model on the pictures of a request.
    """

    @app.post(BY_NAME, tags=["models"], response_model=Classification, openapi_extra=PICTURES)
    async def classify(request: Request, name: str, top: Top = TOP) -> Response:
        """Return the most probable classes of each picture."""
        return await classified(answer, request, models_of(request).get(name), top)

    @app.post(
        "/v1/models/{name}/features",
        tags=["models"],
        response_model=Features,
        openapi_extra=PICTURES,
    )
    async def features(request: Request, name: str) -> Response:
        """Return the input of the network's head: as JSON, or as N x D .npy if that is accepted."""
        model = models_of(request).get(name)
        _, rows = await answer(request, model, results.features_output(model))
        provider = model.runtime.provider
        if NPY in request.headers.get("accept", ""):
            return npy_response(model, provider, rows)
        return json_response(Features(model=model.stamp, provider=provider, features=rows.tolist()))

    for route in ROUTES:
        _add_route(app, answer, route)


def _add_route(app: FastAPI, answer: Answerer, route: str) -> None:
    @app.post(
        BY_ROUTE[route],
        tags=["routes"],
        name=f"classify_{route}",
        response_model=Classification,
        openapi_extra=PICTURES,
    )
    async def classify_route(request: Request, top: Top = TOP, model: ModelName = None) -> Response:
        """Return the most probable classes of each picture, by the best model of the route."""
        return await classified(answer, request, models_of(request).choose(route, model), top)
