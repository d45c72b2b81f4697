"""Classify, and a fast path for the most frequent request: with nothing in the query.

FastAPI's routing and parameter checks take as long as decoding a small picture, and such a request
has no parameters to check. FastAPI answers everything else, and documents these requests too.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from artifacts.preprocessing import Prepared
from artifacts.runtime import Outputs
from serving.http.bulk import Bulk, Errors
from serving.http.intake import Answerer, feedback_of, open_model
from serving.http.middleware import context_of
from serving.http.responses import json_response
from serving.inference import results
from serving.inference.served_model import ServedModel
from serving.observability import metrics
from serving.pictures.decode import decode_and_prepare
from serving.schemas import Classification, ClassifiedPicture, EachClassification

if TYPE_CHECKING:
    from serving.inference.models import Models

TOP = 5
"""Number of classes that are named if the query does not say."""
BY_NAME = "/v1/models/{name}/classify"
BY_ROUTE = "/v1/{route}/classify"


class FastPath:
    """An ASGI layer that answers plain classify requests itself and passes on all others.

    Args:
        app: the whole application.
        answer: the one that the application's routes use.
    """

    def __init__(self, app: FastAPI, answer: Answerer) -> None:
        self._app = app
        self._answer = answer
        routes = [route for route in app.routes if isinstance(route, Route)]
        self._routes = {route.path: route for route in routes if route.path in {BY_NAME, BY_ROUTE}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method = scope["method"] if scope["type"] == "http" else ""
        plain = method == "POST" and not scope["query_string"] and not scope["root_path"]
        models: Models = self._app.state.models  # read once, because a reload replaces it
        match scope["path"].split("/") if plain else ():
            case "", "v1", "models", name, "classify" if name:
                scope["route"] = self._routes[BY_NAME]
                model = models.get(name)
            case "", "v1", route, "classify" if route in models.classifiers:
                scope["route"] = self._routes[BY_ROUTE]
                model = models.classifiers[route]
            case _:
                await self._app(scope, receive, send)
                return
        scope["app"] = self._app
        response = await classified(self._answer, Request(scope, receive), model, TOP)
        await response(scope, receive, send)


async def classified(
    answer: Answerer,
    request: Request,
    model: ServedModel,
    top: int,
    keep: float | None = None,
    coverage: float | None = None,
    errors: Errors = "request",
) -> Response:
    """Answer a request with the `top` most probable classes of its pictures, by a model."""
    feedback = feedback_of(request)
    digests = feedback is not None and feedback.keeps_pictures
    await open_model(model)
    wanted = results.classify_outputs(model, keep, coverage)

    def make(prepared: Sequence[Prepared], outputs: Outputs) -> Classification:
        given = results.classification(model, prepared, outputs, top, keep, coverage)
        count_verdicts(model, given)
        if feedback is not None:
            given = feedback.with_ids(given, model, context_of(request).digests)
        return given

    bulk = Bulk(request, answer.pool, errors)
    if not bulk.asked:
        return json_response(make(*await answer.outputs(request, model, wanted, digests=digests)))
    about: dict[str, Any] = {"model": model.stamp, "provider": model.runtime.provider}

    async def pictures(prepared: Sequence[Prepared]) -> Sequence[ClassifiedPicture]:
        given = make(prepared, await answer.run(request, model, prepared, wanted))
        about.update(task=given.task, feedback=given.feedback, verdicts=given.verdicts)
        return given.pictures

    def whole(entries: Any) -> EachClassification:
        return EachClassification.model_construct(pictures=entries, **about)

    prepare = partial(decode_and_prepare, policy=model.manifest.input)
    return await bulk.respond(model, prepare, pictures, whole, digests=digests)


def count_verdicts(model: ServedModel, given: Classification) -> None:
    """Count in the metrics the pictures of an answer that the model does not know."""
    refused = sum(picture.verdict == "cannot_say" for picture in given.pictures)
    if refused:
        metrics.cannot_say.labels(model.name).inc(refused)
