"""Routes that answer from the atlas of a model: its pictures, and the neighbours of others."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from artifacts.atlas import SHEET_FILE
from serving.http.body import PICTURE_FIELD, picture_body
from serving.http.intake import Answerer, models_of
from serving.http.responses import json_response
from serving.inference import results
from serving.inspection.neighbours import atlas_of, describe_atlas, nearest
from serving.schemas import Atlas, Neighbours

Top = Annotated[int, Query(ge=1, description="number of neighbours to return")]


def atlas_routes(answer: Answerer) -> APIRouter:
    """Return the routes of an atlas.

    Args:
        answer: runs a model on the pictures of a request.
    """
    router = APIRouter(prefix="/v1/models/{name}", tags=["models"])

    @router.get("/atlas")
    def describe(request: Request, name: str) -> Atlas:
        """Describe the pictures of the model's atlas: their classes, and their places on a map."""
        return describe_atlas(models_of(request).get(name))

    @router.get(
        "/atlas/sheet",
        responses={
            200: {"content": {"image/jpeg": {}}, "description": "thumbnails of all pictures"}
        },
        response_class=Response,
    )
    def sheet(request: Request, name: str) -> Response:
        """Return one image with the pictures of the atlas, row by row in its order."""
        model = models_of(request).get(name)
        atlas_of(model)
        path = model.artifact.path / SHEET_FILE
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})

    @router.post(
        "/neighbours", response_model=Neighbours, openapi_extra=picture_body((PICTURE_FIELD,))
    )
    async def neighbours(request: Request, name: str, top: Top = 8) -> Response:
        """Find the pictures of the atlas nearest to each picture, and its place on the map."""
        model = models_of(request).get(name)
        atlas_of(model)  # so that the request is refused before its pictures are read
        _, rows = await answer(request, model, results.features_output(model))
        found = nearest(model, rows, top)
        return json_response(found)

    return router
