"""The ASGI application: routes, pages and the one form of refusals. `serving.service` mounts it."""

from concurrent.futures import Executor
from contextlib import suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from artifacts.manifest import FACES
from serving.faces.names import check_path
from serving.http.intake import Answerer, feedback_of, models_of, recent_answers_of
from serving.http.middleware import context_of
from serving.http.pages import add_pages
from serving.http.responses import PROBLEMS, problem_response
from serving.http.routes.atlas import atlas_routes
from serving.http.routes.classify import add_classify_routes
from serving.http.routes.explain import add_explain_route
from serving.http.routes.faces import face_routes
from serving.http.routes.feedback import feedback_routes
from serving.http.routes.inspection import add_inspection_routes
from serving.http.routes.models import add_model_routes
from serving.http.routes.open_inference import open_inference_routes
from serving.inference.scheduler import Scheduler
from serving.observability import metrics
from serving.problems import RequestError

MAX_QUOTED = 100
"""Number of characters of a bad parameter that its refusal repeats."""


def create_app(pool: Executor, scheduler: Scheduler, answer: Answerer) -> FastAPI:
    """Make the application.

    Its `state` must be filled before the first request: `models`, `indexes`, `recent_answers`,
    `feedback`, and what `serving.http.routes.faces` needs.

    Args:
        pool: threads that decode pictures and look into models; its size bounds both.
        scheduler: runs models.
        answer: has models answer.
    """
    app = FastAPI(
        title="Vitrine",
        description="Vision models: what they answer, and what goes on inside.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a DELETE of `a%2F` must not be redirected to remove `a`
        responses=PROBLEMS,
    )
    add_pages(app)
    _add_metrics(app)
    _add_problems(app)
    add_model_routes(app)
    add_classify_routes(app, answer)
    add_inspection_routes(app, pool)
    add_explain_route(app, pool, scheduler)
    app.include_router(atlas_routes(pool, answer))
    app.include_router(face_routes(pool))
    app.include_router(feedback_routes())
    app.include_router(open_inference_routes(answer))
    return app


def _add_metrics(app: FastAPI) -> None:
    @app.get("/metrics", include_in_schema=False)
    def metrics_page(request: Request) -> Response:
        if models_of(request).of_route(FACES):
            with suppress(RequestError):  # if the database is down, the last count stands
                metrics.gallery.set(request.app.state.gallery.reader.state()[3])
        drift = recent_answers_of(request).gauges(models_of(request))
        figures: list[metrics.FeedbackGauges] = []
        with suppress(RequestError):  # if the database is down, there are no figures
            if (feedback := feedback_of(request)) is not None:
                figures = [
                    metrics.FeedbackGauges(
                        each.model, each.version, each.answers, each.correct, each.ece, each.brier
                    )
                    for each in feedback.summary().models
                ]
        return Response(metrics.text(drift, figures), media_type=metrics.MEDIA_TYPE)


def _add_problems(app: FastAPI) -> None:
    """Give every refusal the same form, wherever it is raised."""

    @app.exception_handler(RequestError)
    async def problem(request: Request, problem: RequestError) -> Response:
        return problem_response(problem, request.scope["path"])

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = first["loc"][-1]
        given = repr(first["input"])
        if len(given) > MAX_QUOTED:
            given = f"{given[:MAX_QUOTED]}…"
        return problem_response(
            RequestError("bad-parameter", f"{where} = {given}: {first['msg']}."),
            request.scope["path"],
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]  # `request.url` raises if the Host header is not a valid name
        where = f"{request.method} {path}"
        if path.startswith("/v1/faces/people/"):
            try:
                check_path(request.scope)
            except RequestError as problem:
                return problem_response(problem, path)
        if error.status_code == 405:  # noqa: PLR2004
            detail = f"{where} is not possible; /docs lists the methods of each address."
            refusal = RequestError("method-not-allowed", detail)
            return problem_response(refusal, path, error.headers)
        return problem_response(
            RequestError("not-found", f"{where}: nothing is here; /docs lists what is."), path
        )

    @app.exception_handler(Exception)
    async def failure(request: Request, error: Exception) -> Response:
        return problem_response(context_of(request).failure(error), request.scope["path"])
