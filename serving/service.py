"""The BentoML service: processes, health checks and packaging around the HTTP application."""

import gc
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from artifacts import artifacts_root
from artifacts.artifact import INT8_FILE
from artifacts.provenance import cores
from serving.faces.gallery import Gallery
from serving.faces.operations import face_model, verification
from serving.http.access import Access
from serving.http.app import create_app
from serving.http.fast_path import FastPath
from serving.http.intake import Answerer
from serving.http.middleware import PROBES, Middleware
from serving.http.pages import SAMPLE
from serving.http.patches import patch_bentoml, patch_uvicorn
from serving.inference.admission import Budget
from serving.inference.in_flight import InFlight
from serving.inference.models import ROUTES, Models
from serving.inference.scheduler import Scheduler
from serving.inspection.recent_answers import Windows
from serving.lifecycle import Lifecycle, Siblings
from serving.observability import metrics, tracing
from serving.observability.logs import configure as configure_logs
from serving.problems import RequestError
from serving.settings import read_settings

# Inherited by the workers. With its defaults, the C library keeps the memory of large pictures in
# fragments that nothing large fits into again: memory grew by half under mixed load.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 20))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(16 << 20))

settings = read_settings()
LANES = max(1, cores() // settings.workers)
"""Batches that a worker runs at once, each on one thread. Measured on two cores: two calls with one
thread each gave 1.6 times the pictures per second of one call with two threads."""
THREADS = 1
"""Threads of the runtime within one call."""

# Decoding has threads of its own, so that it continues while models run.
pool = ThreadPoolExecutor(max_workers=max(2, LANES), thread_name_prefix="vitrine")
scheduler = Scheduler(LANES)
answer = Answerer(pool, scheduler)
app = create_app(pool, answer)
middleware = Middleware(
    FastPath(app, answer),
    settings.timeout,
    Budget(settings.megapixels * 1_000_000),
    log_all=settings.log_requests == "1",
)
outermost = tracing.traced(middleware)

log = logging.getLogger("bentoml.vitrine")  # a child of BentoML's logger: it shares its format


class BypassBentoml:
    """Sends every request but those of orchestrators past BentoML's own middleware.

    BentoML would answer unknown addresses in a form of its own, and keep a metric for each address
    that is asked for, of which clients can invent any number.

    Args:
        app: BentoML's application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        by_bentoml = scope["type"] != "http" or scope["path"] in PROBES
        await (self.bentoml if by_bentoml else outermost)(scope, receive, send)


patch_uvicorn(settings.timeout)
patch_bentoml(BypassBentoml)


@bentoml.asgi_app(middleware, path="/")
@bentoml.service(
    workers=settings.workers,
    metrics={"enabled": False},  # replaced by serving.observability.metrics
    # Either of these costs more than a small model takes to answer; tracing alone 0.4 ms a request.
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # replaced by serving.observability.tracing
)
class Vitrine:
    """Vision models: what they answer, and what goes on inside."""

    def __init__(self) -> None:
        configure_logs()
        metrics.forget_the_dead()
        app.state.models = Models({}, {})
        app.state.access = Access.from_settings(settings)
        if app.state.access.closed:
            middleware.check = app.state.access.check_address
        app.state.keeps_pictures = settings.keep_pictures == "1"
        app.state.gallery = Gallery.from_settings(settings, threads=THREADS)
        index = bentoml.server_context.worker_index or 1
        app.state.windows = Windows(metrics.FOLDER, index)
        scheduler.in_flight = InFlight(metrics.FOLDER, index, settings.workers)
        siblings = Siblings(metrics.FOLDER, index, settings.workers)
        app.state.lifecycle = Lifecycle(siblings, middleware, _load)
        app.state.lifecycle.start()

    def __is_ready__(self) -> bool:
        """Whether all models are warm, the gallery is read, and requests are accepted: /readyz."""
        return middleware.closed is None and bool(app.state.models.served)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def end(self) -> None:
        """Remove this worker's in-flight counts, and send the traces that are left."""
        metrics.forget_this()
        tracing.end()


service: Any = Vitrine  # the decorators made a bentoml.Service of the class


def _load() -> None:
    """Load the artifacts that have changed, warm them up, and have them answer from now on."""
    known = app.state.models.served
    models = Models.load(threads=THREADS, keep=app.state.models, calls=LANES)
    _load_gallery(models, app.state.gallery)
    app.state.models = models
    _freeze_loaded_objects()
    if bentoml.server_context.worker_index in {None, 1} and not known:
        _announce(models)


def _freeze_loaded_objects() -> None:
    """Exempt what is loaded from garbage collection, whose passes over it halt every request.

    Objects of an earlier load are collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _load_gallery(models: Models, gallery: Gallery) -> None:
    """Fill the index before the worker is ready; without a face model, nothing is opened."""
    if not models.of_route("faces"):
        return
    try:
        model = face_model(models, hash_=gallery.lookup.model())
        gallery.load(model.artifact.hash, verification(model).metric)
    except RequestError as error:  # the other routes can answer all the same
        log.error("THE GALLERY OF FACES IS NOT READY: %s", error)  # noqa: TRY400 - it says it all


def _announce(models: Models) -> None:
    """Log once which models are served, on what, and what to try first."""
    listed = models.list()
    for model in listed.models:
        form = " in 8-bit integers" * (models.served[model.name].artifact.model_file == INT8_FILE)
        notes = form + " (trained on synthetic pictures)" * model.synthetic
        log.info("model %s on %s%s", model.name, model.provider, notes)
    for broken in listed.unavailable:
        log.error("model %s is NOT SERVED: %s", broken.name, broken.reason)
    if not listed.models:
        log.error("NO MODEL TO SERVE under %s: not ready", artifacts_root())
    elif not any("CUDA" in model.provider for model in listed.models):
        log.warning("NO GPU IN USE: all models run on the CPU")
    if not app.state.access.keys:
        log.warning("NO API KEYS: faces answer to this machine only, and to all on it")
    log.info("%d workers x %d runtime threads", settings.workers, LANES)
    for route in [route for route in ROUTES if route in listed.defaults][:1]:
        sample = os.path.relpath(SAMPLE)
        log.info("try: curl -s -F image=@%s %s/v1/%s/classify", sample, service.url, route)
    log.info("in a browser: %s, described at %s/docs", service.url, service.url)
