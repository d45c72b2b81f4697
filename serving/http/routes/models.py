"""Routes of `/v1/models`: which models are served, what is known about each, and reloading."""

from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response

from artifacts.card import write_card
from serving.http.intake import models_of
from serving.http.responses import bearer, json_response
from serving.problems import RequestError
from serving.schemas import ModelInfo, ModelList, SelectedModels

MARKDOWN = "text/markdown"


Fields = Annotated[
    str | None,
    Query(
        description="names of the fields of each model that are wanted, separated by commas, such "
        "as `name,task`; all if not given"
    ),
]


def selected(listed: ModelList, fields: str) -> Response:
    """The list with only these fields of each model.

    Raises:
        RequestError: models have no such field.
    """
    wanted = set(fields.split(","))
    if unknown := sorted(wanted - ModelInfo.model_fields.keys()):
        raise RequestError(
            "bad-parameter",
            f"fields = {fields[:100]!r}: there is no {unknown[0][:40]!r}; there are: "
            f"{', '.join(ModelInfo.model_fields)}.",
        )
    others = {"models": {"__all__": ModelInfo.model_fields.keys() - wanted}}
    content = listed.model_dump_json(by_alias=True, exclude=others)
    return Response(content, media_type="application/json")


def add_model_routes(app: FastAPI) -> None:
    """Add the routes that describe models."""

    @app.get("/v1/models", tags=["models"], response_model=ModelList | SelectedModels)
    async def models(request: Request, fields: Fields = None) -> Response:
        """List the models, and the artifacts that could not be loaded."""
        listed = models_of(request).list()
        return json_response(listed) if fields is None else selected(listed, fields)

    @app.post("/v1/models:reload", tags=["models"], dependencies=[Depends(bearer)])
    async def reload(request: Request) -> ModelList:
        """Load new and changed artifacts in all workers, while requests continue to be answered."""
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
        """Return the model card: intended use, training data, measured quality, and limits."""
        content = write_card(models_of(request).get(name).manifest)
        return Response(content, media_type=MARKDOWN)
