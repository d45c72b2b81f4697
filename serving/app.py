"""The HTTP surface: a typed ASGI application. `serving.service` mounts it in BentoML."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from artifacts.card import write_card
from artifacts.runtime import Picture
from serving import metrics, operations
from serving.answerer import Answerer, models_of, windows_of
from serving.atlas_routes import atlas_routes
from serving.entrance import admit, run_in
from serving.faces.names import check_path
from serving.faces.parameters import bearer
from serving.faces.routes import face_routes
from serving.forms import FIELD, picture_body, read_contents
from serving.models import ROUTES, ServedModel
from serving.pages import add_pages
from serving.pictures import decode_pictures
from serving.problems import MEDIA_TYPE, RequestError
from serving.schemas import (
    Classification,
    Drift,
    Features,
    Inspection,
    ModelInfo,
    ModelList,
    ProblemDocument,
)
from serving.shortcut import BY_NAME, BY_ROUTE, TOP, classified
from serving.tracing import span
from serving.traffic import passage_of, problem_response

NPY = "application/x-npy"
MARKDOWN = "text/markdown"

Top = Annotated[int, Query(ge=1, description="number of classes to name")]
LayerName = Annotated[str, Query(description="an activation, as inspect names it")]
WithMoments = Annotated[bool, Query(description="also give what the distances are made of")]
ModelName = Annotated[str | None, Query(description="another model of this route")]

PICTURES = picture_body((FIELD,))
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


def create_app(pool: ThreadPoolExecutor, answer: Answerer) -> FastAPI:
    """Make the application. `app.state` must be filled before it is asked anything.

    It holds `models`, `windows` of their last answers, and what `serving.faces.routes` needs.

    Args:
        pool: where pictures are decoded and looked into; its size bounds both.
        answer: has models answer.
    """
    app = FastAPI(
        title="Vitrine",
        description="Vision models: what they answer, and what goes on inside.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # or a DELETE of `a%2F` would be led on to remove `a`
        responses=PROBLEMS,
    )
    add_pages(app)
    _add_metrics(app)
    _add_problems(app)
    _add_models(app)
    _add_answers(app, answer)
    _add_looks(app, pool)
    app.include_router(atlas_routes(answer))
    app.include_router(face_routes(pool))
    return app


def _add_metrics(app: FastAPI) -> None:
    @app.get("/metrics", include_in_schema=False)
    def metrics_page(request: Request) -> Response:
        if models_of(request).of_route("faces"):
            with suppress(RequestError):  # the database is down: what it held last still stands
                metrics.gallery.set(request.app.state.gallery.lookup.state()[3])
        drift = windows_of(request).gauges(models_of(request))
        return Response(metrics.text(drift), media_type=metrics.MEDIA_TYPE)


def _add_problems(app: FastAPI) -> None:
    """Give every refusal the one form, whoever raised it."""

    @app.exception_handler(RequestError)
    async def problem(_: Request, problem: RequestError) -> Response:
        return problem_response(problem)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = first["loc"][-1]
        return problem_response(
            RequestError("bad-parameter", f"{where} = {first['input']!r}: {first['msg']}.")
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]  # `request.url` fails on a Host header that is no name
        where = f"{request.method} {path}"
        if path.startswith("/v1/faces/people/"):
            try:
                check_path(request.scope)
            except RequestError as problem:
                return problem_response(problem)
        if error.status_code == 405:  # noqa: PLR2004
            detail = f"{where} is not possible; /docs lists the methods of each address."
            return problem_response(RequestError("method-not-allowed", detail), error.headers)
        return problem_response(
            RequestError("not-found", f"{where}: nothing is here; /docs lists what is.")
        )

    @app.exception_handler(Exception)
    async def failure(request: Request, error: Exception) -> Response:
        return problem_response(passage_of(request).failure(error))


def _add_models(app: FastAPI) -> None:
    @app.get("/v1/models", tags=["models"])
    async def models(request: Request) -> ModelList:
        """List the models, and the artifacts that could not be loaded."""
        return models_of(request).list()

    @app.post("/v1/models:reload", tags=["models"], dependencies=[Depends(bearer)])
    async def reload(request: Request) -> ModelList:
        """Load new and changed artifacts in all workers; requests are answered meanwhile."""
        request.app.state.access.check(request, "write")
        await request.app.state.lifecycle.reload()
        return models_of(request).list()

    @app.get("/v1/models/{name}", tags=["models"])
    async def model(request: Request, name: str) -> ModelInfo:
        """Describe one model."""
        return models_of(request).get(name).info

    @app.get(
        "/v1/models/{name}/card",
        tags=["models"],
        responses={200: {"content": {MARKDOWN: {}}, "description": "the card, as Markdown"}},
        response_class=Response,
    )
    async def card(request: Request, name: str) -> Response:
        """Say what a model is for, what it learned from, how good it is, and where it fails."""
        content = write_card(models_of(request).get(name).manifest)
        return Response(content, media_type=MARKDOWN)

    @app.get("/v1/models/{name}/drift", tags=["models"], response_model_exclude_none=True)
    def drift(request: Request, name: str, *, moments: WithMoments = False) -> Drift:
        """Say how far the last answers lie from what the model was validated on."""
        answer = windows_of(request).read(models_of(request).get(name))
        return answer if moments else answer.model_copy(update={"reference": None, "moments": None})


def _add_answers(app: FastAPI, answer: Answerer) -> None:
    @app.post(
        BY_NAME,
        tags=["models"],
        response_model=Classification,
        openapi_extra=PICTURES,
    )
    async def classify(request: Request, name: str, top: Top = TOP) -> Response:
        """Name the most probable classes of each picture."""
        return await classified(answer, request, models_of(request).get(name), top)

    @app.post(
        "/v1/models/{name}/features",
        tags=["models"],
        response_model=Features,
        openapi_extra=PICTURES,
    )
    async def features(request: Request, name: str) -> Response:
        """Give what the head of the network sees: JSON, or N x D .npy if accepted."""
        model = models_of(request).get(name)
        encode = _npy if NPY in request.headers.get("accept", "") else _features_json
        _, rows = await answer(request, model, operations.features_output(model))
        return encode(model, model.runtime.provider, rows)

    def add_route(route: str) -> None:
        @app.post(
            BY_ROUTE[route],
            tags=["routes"],
            name=f"classify_{route}",
            response_model=Classification,
            openapi_extra=PICTURES,
        )
        async def classify_route(
            request: Request, top: Top = TOP, model: ModelName = None
        ) -> Response:
            """Name the most probable classes of each picture, by the best model of the route."""
            return await classified(answer, request, models_of(request).choose(route, model), top)

    for route in ROUTES:
        add_route(route)


def _add_looks(app: FastAPI, pool: ThreadPoolExecutor) -> None:
    async def look(
        request: Request, model: ServedModel, operation: Callable[[list[Picture]], Response]
    ) -> Response:
        opened = await admit(request, await read_contents(request), model)

        def work() -> Response:
            pictures = decode_pictures(opened)
            with span("inference", model=model.name):
                return operation(pictures)

        return await run_in(pool, work)

    @app.post(
        "/v1/models/{name}/inspect",
        tags=["models"],
        response_model=Inspection,
        openapi_extra=PICTURES,
    )
    async def inspect(request: Request, name: str) -> Response:
        """Count the exact zeros after every activation, by layer and channel."""
        model = models_of(request).get(name)
        return await look(request, model, lambda p: _json(operations.inspect(model, p)))

    @app.post(
        "/v1/models/{name}/maps",
        tags=["models"],
        responses={200: {"content": {NPY: {}}, "description": "float32 C x H x W as .npy"}},
        response_class=Response,
        openapi_extra=PICTURES,
    )
    async def maps(request: Request, name: str, layer: LayerName) -> Response:
        """Give the feature maps of one activation for one picture, as .npy."""
        model = models_of(request).get(name)

        def answer(pictures: Sequence[Picture]) -> Response:
            rows = operations.feature_map(model, pictures, layer)
            return _npy(model, model.maps.runtime.provider, rows)

        return await look(request, model, answer)


def _json(answer: Classification | Features | Inspection) -> Response:
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


def _features_json(model: ServedModel, provider: str, rows: np.ndarray) -> Response:
    return _json(Features(model=model.stamp, provider=provider, features=rows.tolist()))


def _npy(model: ServedModel, provider: str, rows: np.ndarray) -> Response:
    """The array alone as .npy; who gave it stands in the headers."""
    file = io.BytesIO()
    np.save(file, rows)
    headers = {
        "Vitrine-Model": model.name,
        "Vitrine-Model-Hash": model.stamp.hash,
        "Vitrine-Model-Synthetic": str(model.stamp.synthetic).lower(),
        "Vitrine-Provider": provider,
    }
    return Response(file.getvalue(), headers=headers, media_type=NPY)
