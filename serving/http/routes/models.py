"""Routes of `/v1/models`: which models are served, what is known about each, and reloading."""

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response

from artifacts.card import write_card
from serving.http.access import bearer
from serving.http.intake import models_of
from serving.schemas import ModelInfo, ModelList

MARKDOWN = "text/markdown"


def add_model_routes(app: FastAPI) -> None:
    """Add the routes that describe models."""

    @app.get("/v1/models", tags=["models"])
    async def models(request: Request) -> ModelList:
        """List the models, and the artifacts that could not be loaded."""
        return models_of(request).list()

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
