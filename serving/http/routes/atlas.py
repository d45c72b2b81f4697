"""Routes that answer from the atlas or an index of a model: its pictures, and neighbours."""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from artifacts.atlas import SHEET_FILE
from artifacts.preprocessing import Prepared
from serving.http.bulk import LINES, Bulk
from serving.http.intake import Answerer, indexes_of, models_of, open_model, run_in
from serving.http.responses import json_response
from serving.http.routes.classify import MAX_INT32, PICTURES, EachOrRequest
from serving.inference import results
from serving.inspection.neighbours import (
    atlas_of,
    describe_atlas,
    name_of,
    nearest,
    searched,
)
from serving.pictures.decode import decode_and_prepare
from serving.schemas import Atlas, EachNeighbours, Neighbourhood, Neighbours

Top = Annotated[
    int,
    Query(ge=1, le=MAX_INT32, description="number of neighbours to return; all if there are fewer"),
]

IndexName = Annotated[
    str | None,
    Query(
        description="name of an index that `vitrine index` made; by default, the atlas is "
        "searched, or the only index of a model without atlas"
    ),
]


def atlas_routes(pool: Executor, answer: Answerer) -> APIRouter:
    """Return the routes of an atlas, and of the indexes.

    Args:
        pool: threads that search.
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
        "/neighbours",
        response_model=Neighbours | EachNeighbours,
        responses=LINES,
        openapi_extra=PICTURES,
    )
    async def neighbours(
        request: Request,
        name: str,
        top: Top = 8,
        index: IndexName = None,
        errors: EachOrRequest = "request",
    ) -> Response:
        """Find the pictures of the atlas or of an index that are nearest to each picture."""
        model = models_of(request).get(name)
        where = searched(model, indexes_of(request), index)  # refuses before pictures are read
        await open_model(model)
        output = results.features_output(model)

        async def found(rows: npt.NDArray[np.float32]) -> Neighbours:
            return await run_in(pool, lambda: nearest(model, where, rows, top))

        bulk = Bulk(request, pool, errors)
        if not bulk.asked:
            _, rows = await answer(request, model, output)
            return json_response(await found(rows))

        async def entries(prepared: Sequence[Prepared]) -> Sequence[Neighbourhood]:
            outputs = await answer.run(request, model, prepared, (output,))
            return (await found(outputs[output])).pictures

        def whole(pictures: Any) -> EachNeighbours:
            return EachNeighbours(
                model=model.stamp,
                provider=model.runtime.provider,
                index=name_of(where),
                pictures=pictures,
            )

        prepare = partial(decode_and_prepare, policy=model.manifest.input)
        return await bulk.respond(model, prepare, entries, whole)

    return router
