"""The BentoML service: processes, health, metrics and packaging around the HTTP surface."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from artifacts import VitrineError, artifacts_root
from artifacts.provenance import cores
from serving.access import Access
from serving.app import create_app
from serving.faces.gallery import Gallery
from serving.faces.operations import face_model, verification
from serving.models import ROUTES, Models
from serving.pages import SAMPLE
from serving.problems import RequestError


def _workers() -> int:
    given = os.environ.get("VITRINE_WORKERS") or str(cores())
    if not given.isdecimal() or int(given) < 1:
        raise VitrineError(f"VITRINE_WORKERS={given}: a whole number from 1 on is expected.")
    return int(given)


WORKERS = _workers()
THREADS = max(1, cores() // WORKERS)
"""ONNX Runtime threads within one call; calls run in parallel across workers."""

# One thread more than inference fills, so that decoding goes on meanwhile.
app = create_app(ThreadPoolExecutor(max_workers=2, thread_name_prefix="vitrine"))

# a child of BentoML's logger: shares its handler and format
log = logging.getLogger("bentoml.vitrine")


async def surface(scope: Scope, receive: Receive, send: Send) -> None:
    """Pass everything on to the application.

    BentoML looks into Starlette applications and keeps what they do not know for itself, with
    answers of its own form; into a function it cannot look.
    """
    await app(scope, receive, send)


@bentoml.asgi_app(surface, path="/")
@bentoml.service(
    workers=WORKERS,
    traffic={"timeout": 3600},  # seconds: importing a gallery of a million faces takes minutes
    # Each costs more than a small model takes to answer; measured: tracing 0.4 ms a request.
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Vitrine:
    """Vision models: what they answer, and what goes on inside."""

    def __init__(self) -> None:
        app.state.models = Models.load(threads=THREADS)
        app.state.access = Access.from_environment()
        app.state.keeps_pictures = _keeps_pictures()
        app.state.gallery = Gallery.from_environment(threads=THREADS)
        _load_gallery(app.state.models, app.state.gallery)
        if bentoml.server_context.worker_index in {None, 1}:
            _announce(app.state.models)

    def __is_ready__(self) -> bool:
        """Whether there is a model to answer: what /readyz says."""
        return bool(app.state.models.served)


def _keeps_pictures() -> bool:
    given = os.environ.get("VITRINE_KEEP_PICTURES") or "0"
    if given not in {"0", "1"}:
        raise VitrineError(f"VITRINE_KEEP_PICTURES={given}: 1 (keep them) or 0 is expected.")
    return given == "1"


def _load_gallery(models: Models, gallery: Gallery) -> None:
    """Fill the index before the worker is ready; without a face model, nothing is opened."""
    if not models.of_route("faces"):
        return
    try:
        model = face_model(models, hash_=gallery.lookup.model())
        gallery.load(model.artifact.hash, verification(model).metric)
    except RequestError as error:  # the other routes answer nevertheless
        log.error("THE GALLERY OF FACES IS NOT READY: %s", error)  # noqa: TRY400 - it says it all


class Newlines:
    """Takes addresses with a newline in them past BentoML, whose routes do not match them.

    Without it they get a 404 of another form than every refusal has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await (app if "\n" in scope.get("path", "") else self.bentoml)(scope, receive, send)


service: Any = Vitrine  # the decorators made a bentoml.Service of the class
service.add_asgi_middleware(Newlines)


def _announce(models: Models) -> None:
    """Say once what is served, on what, and what to try first."""
    listed = models.list()
    for model in listed.models:
        notes = " (trained on synthetic pictures)" * model.synthetic
        log.info("model %s on %s%s", model.name, model.provider, notes)
    for broken in listed.unavailable:
        log.error("model %s is NOT SERVED: %s", broken.name, broken.reason)
    if not listed.models:
        log.error("NO MODEL TO SERVE under %s: not ready", artifacts_root())
    elif not any("CUDA" in model.provider for model in listed.models):
        log.warning("NO GPU IN USE: all models run on the CPU")
    if not app.state.access.keys:
        log.warning("NO API KEYS: faces answer to this machine only, and to all on it")
    log.info("%d workers x %d runtime threads", WORKERS, THREADS)
    for route in [route for route in ROUTES if route in listed.defaults][:1]:
        sample = os.path.relpath(SAMPLE)
        log.info("try: curl -s -F image=@%s %s/v1/%s/classify", sample, service.url, route)
    log.info("in a browser: %s, described at %s/docs", service.url, service.url)
