"""The route that explains answers."""

from concurrent.futures import Executor
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from serving.http.body import PICTURE_FIELD, picture_body, read_contents
from serving.http.intake import admit, models_of, open_model, run_in
from serving.http.middleware import context_of
from serving.http.responses import json_response, stamp_headers
from serving.inference.scheduler import Scheduler
from serving.inspection.explanations import (
    Question,
    ask,
    check_class,
    check_single,
    explained,
    explainer_of,
    further_pixels,
    overlay,
)
from serving.pictures.decode import decode_pictures
from serving.pictures.header import size_of
from serving.schemas import PNG, Explanation

ClassName = Annotated[
    str | None,
    Query(alias="class", description="name of the class to explain; by default the best one"),
]


def add_explain_route(app: FastAPI, pool: Executor, scheduler: Scheduler) -> None:
    """Add the route that explains answers.

    Args:
        app: the application to add it to.
        pool: threads that decode and draw.
        scheduler: runs the models.
    """

    @app.post(
        "/v1/models/{name}/explain",
        tags=["models"],
        response_model=Explanation,
        responses={200: {"content": {PNG: {}}, "description": "the map, or drawn as an overlay"}},
        openapi_extra=picture_body((PICTURE_FIELD,)),
    )
    async def explain(request: Request, name: str, label: ClassName = None) -> Response:
        """Show which parts of one picture speak for a class, and which against it.

        The answer is a map of numbers, or the map drawn over the picture if `image/png` is
        accepted.
        """
        model = models_of(request).get(name)
        check_class(model, label)
        contents = await read_contents(request)
        check_single(len(contents))
        opened = await admit(request, contents, model)
        await open_model(model)
        explainer = await run_in(pool, lambda: explainer_of(model))
        more = further_pixels(model, explainer, size_of(opened.images[0]))
        context_of(request).place.take_pixels(more)
        scheduler.check_wait(explainer.runtime)

        def prepare() -> Question:
            return ask(model, explainer, decode_pictures(opened)[0], label)

        question = await run_in(pool, prepare)
        rows = await scheduler.run(explainer.runtime, question.views, explainer.names)

        def answered() -> Response:
            answer = explained(question, rows)
            if PNG not in request.headers.get("accept", ""):
                return json_response(answer)
            headers = {
                **stamp_headers(model, answer.provider),
                "Vitrine-Class": quote(answer.label),
                "Vitrine-Method": answer.method,
            }
            return Response(overlay(question.picture, answer), headers=headers, media_type=PNG)

        return await run_in(pool, answered)
