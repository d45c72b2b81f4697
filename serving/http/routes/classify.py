"""Routes that answer from one output of a model: its classes or its features."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from artifacts.manifest import FACES, RESERVED_ROUTES
from artifacts.preprocessing import Prepared
from serving.http.body import PICTURE_FIELD, picture_body
from serving.http.bulk import LINES, Bulk, Errors
from serving.http.fast_path import BY_NAME, BY_ROUTE, TOP, classified
from serving.http.intake import Answerer, models_of, open_model
from serving.http.responses import json_response, npy_response
from serving.inference import results
from serving.pictures.decode import decode_and_prepare
from serving.schemas import (
    NPY,
    Classification,
    EachClassification,
    EachFeatures,
    Features,
    PictureFeatures,
)

MAX_INT32 = 2**31 - 1

Top = Annotated[
    int,
    Query(ge=1, le=MAX_INT32, description="number of classes to return; all if there are fewer"),
]
Keep = Annotated[
    float | None,
    Query(
        description="share of known pictures that get the verdict `known`, between 0 and 1; 0.95 "
        "if not given"
    ),
]
Coverage = Annotated[
    float | None,
    Query(
        description="frequency, between 0 and 1, with which the set of classes in the answer holds "
        "the truth; no set if not given"
    ),
]
EachOrRequest = Annotated[
    Errors,
    Query(
        description="what a picture that is refused does: `request` has the whole request refused, "
        "`each` gives the picture an entry with the problem among the other answers"
    ),
]
RouteName = Annotated[
    str, Path(description="a route of a model, as `/v1/models` lists them under `defaults`")
]
ModelName = Annotated[
    str | None, Query(description="name of a model of this route; its default model if not given")
]

PICTURES = picture_body((PICTURE_FIELD,), archives=True)


class _ByRoute(APIRoute):
    """The address of all routes, which leaves the addresses below reserved names to others."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        reserved = child_scope.get("path_params", {}).get("route") in {FACES, *RESERVED_ROUTES}
        return (Match.NONE, {}) if reserved else (match, child_scope)


def add_classify_routes(app: FastAPI, answer: Answerer) -> None:
    """Add the routes that classify pictures or return their features.

    Args:
        app: the application to add them to.
        answer: runs a model on the pictures of a request.
    """

    @app.post(
        BY_NAME,
        tags=["models"],
        response_model=Classification | EachClassification,
        responses=LINES,
        openapi_extra=PICTURES,
    )
    async def classify(
        request: Request,
        name: str,
        top: Top = TOP,
        keep: Keep = None,
        coverage: Coverage = None,
        errors: EachOrRequest = "request",
    ) -> Response:
        """Return the most probable classes of each picture, and whether the model knows its kind.

        A multi-label model also returns every other class whose probability reaches its threshold.
        """
        return await classified(
            answer, request, models_of(request).get(name), top, keep, coverage, errors
        )

    @app.post(
        "/v1/models/{name}/features",
        tags=["models"],
        response_model=Features | EachFeatures,
        responses=LINES,
        openapi_extra=PICTURES,
    )
    async def features(request: Request, name: str, errors: EachOrRequest = "request") -> Response:
        """Return the input of the network's head: as JSON, or as N x D .npy if that is accepted."""
        model = models_of(request).get(name)
        await open_model(model)
        output = results.features_output(model)
        provider = model.runtime.provider
        bulk = Bulk(request, answer.pool, errors)
        if bulk.asked:

            async def entries(prepared: Sequence[Prepared]) -> Sequence[PictureFeatures]:
                rows = (await answer.run(request, model, prepared, (output,)))[output]
                return [PictureFeatures(features=row) for row in rows.tolist()]

            def whole(pictures: Any) -> EachFeatures:
                return EachFeatures.model_construct(
                    model=model.stamp, provider=provider, pictures=pictures
                )

            prepare = partial(decode_and_prepare, policy=model.manifest.input)
            return await bulk.respond(model, prepare, entries, whole)
        _, rows = await answer(request, model, output)
        if NPY in request.headers.get("accept", ""):
            return npy_response(model, provider, rows)
        return json_response(Features(model=model.stamp, provider=provider, features=rows.tolist()))

    async def classify_route(
        request: Request,
        route: RouteName,
        top: Top = TOP,
        model: ModelName = None,
        keep: Keep = None,
        coverage: Coverage = None,
        errors: EachOrRequest = "request",
    ) -> Response:
        """Return the most probable classes of each picture, by the default model of the route.

        A multi-label model also returns every other class whose probability reaches its threshold.
        """
        chosen = models_of(request).choose(route, model)
        return await classified(answer, request, chosen, top, keep, coverage, errors)

    app.router.add_api_route(
        BY_ROUTE,
        classify_route,
        methods=["POST"],
        tags=["routes"],
        response_model=Classification | EachClassification,
        responses=LINES,
        openapi_extra=PICTURES,
        route_class_override=_ByRoute,
    )
