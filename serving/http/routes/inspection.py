"""Routes that look inside a model: zeros after activations, feature maps, and drift."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from artifacts.pictures import Picture
from serving.http.body import PICTURE_FIELD, picture_body, read_contents
from serving.http.intake import admit, models_of, recent_answers_of, run_in
from serving.http.responses import json_response, npy_response
from serving.inference.served_model import ServedModel
from serving.inspection import looks
from serving.observability.tracing import span
from serving.pictures.decode import decode_pictures
from serving.schemas import NPY, Drift, Inspection

LayerName = Annotated[str, Query(description="name of an activation, as `inspect` lists it")]
WithMoments = Annotated[
    bool, Query(description="also return the moments from which the distances are computed")
]

PICTURES = picture_body((PICTURE_FIELD,))


def add_inspection_routes(app: FastAPI, pool: Executor) -> None:
    """Add the routes that look inside a model.

    Args:
        app: the application to add them to.
        pool: threads that decode pictures and run the graphs.
    """

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
        return await look(request, model, lambda p: json_response(looks.inspect(model, p)))

    @app.post(
        "/v1/models/{name}/maps",
        tags=["models"],
        responses={200: {"content": {NPY: {}}, "description": "float32 C x H x W as .npy"}},
        response_class=Response,
        openapi_extra=PICTURES,
    )
    async def maps(request: Request, name: str, layer: LayerName) -> Response:
        """Return the feature maps of one activation for one picture, as .npy."""
        model = models_of(request).get(name)

        def answer(pictures: Sequence[Picture]) -> Response:
            array = looks.feature_map(model, pictures, layer)
            return npy_response(model, looks.maps_of(model).runtime.provider, array)

        return await look(request, model, answer)

    @app.get("/v1/models/{name}/drift", tags=["models"], response_model_exclude_none=True)
    def drift(request: Request, name: str, *, moments: WithMoments = False) -> Drift:
        """Return how far the recent answers are from those on the model's reference pictures."""
        answer = recent_answers_of(request).read(models_of(request).get(name))
        return answer if moments else answer.model_copy(update={"reference": None, "moments": None})
