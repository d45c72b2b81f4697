"""The short way to what is asked most: the classes of pictures, with nothing said in the query.

FastAPI's routing and checks of parameters take as long as a small picture takes to decode, and such
a request has no parameters. All other requests, and the description of these, are FastAPI's.
"""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving import operations
from serving.answerer import Answerer
from serving.models import ROUTES, Models, ServedModel

TOP = 5
"""Classes that are named where the query does not tell how many."""
BY_NAME = "/v1/models/{name}/classify"
BY_ROUTE = {route: f"/v1/{route}/classify" for route in ROUTES}


class Shortcut:
    """An application, with a short way to its answers to `classify`.

    Args:
        app: the whole application.
        answer: as its own routes use it.
    """

    def __init__(self, app: FastAPI, answer: Answerer) -> None:
        self._app = app
        self._answer = answer
        paths = {BY_NAME, *BY_ROUTE.values()}
        routes = [route for route in app.routes if isinstance(route, Route)]
        self._routes = {route.path: route for route in routes if route.path in paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = scope["method"] if scope["type"] == "http" else ""
        plain = asked == "POST" and not scope["query_string"] and not scope["root_path"]
        match scope["path"].split("/") if plain else ():
            case "", "v1", "models", name, "classify" if name:
                scope["route"] = self._routes[BY_NAME]
                model = self._models.get(name)
            case "", "v1", route, "classify" if route in BY_ROUTE:
                scope["route"] = self._routes[BY_ROUTE[route]]
                model = self._models.choose(route, None)
            case _:
                await self._app(scope, receive, send)
                return
        scope["app"] = self._app
        response = await classified(self._answer, Request(scope, receive), model, TOP)
        await response(scope, receive, send)

    @property
    def _models(self) -> Models:
        models: Models = self._app.state.models
        return models


async def classified(answer: Answerer, request: Request, model: ServedModel, top: int) -> Response:
    """The `top` most probable classes of the pictures of a request, by a model."""
    sizes, logits = await answer(request, model, operations.logits_output(model))
    found = operations.classification(model, sizes, logits, top)
    return Response(found.model_dump_json(by_alias=True), media_type="application/json")
