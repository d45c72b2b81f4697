"""The BentoML service: processes, health, metrics and packaging around the HTTP surface."""

import gc
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
from bentoml._internal.server.http import traffic as bentoml_traffic
from starlette.types import ASGIApp, Receive, Scope, Send

from artifacts import VitrineError, artifacts_root
from artifacts.artifact import INT8_FILE
from artifacts.provenance import cores
from serving import metrics, tracing
from serving.access import Access
from serving.answerer import Answerer
from serving.app import create_app
from serving.connections import bound_connections
from serving.crowd import Crowd
from serving.drift import Windows
from serving.faces.gallery import Gallery
from serving.faces.operations import face_model, verification
from serving.lifecycle import Lifecycle, Siblings
from serving.logs import configure as configure_logs
from serving.models import ROUTES, Models
from serving.pages import SAMPLE
from serving.problems import RequestError
from serving.scheduler import Scheduler
from serving.shortcut import Shortcut
from serving.traffic import PROBES, Traffic, positive

# Workers inherit these. Without them the C library keeps what large pictures took, in pieces that
# nothing large fits into again: memory grew by half under mixed load.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 20))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(16 << 20))

WORKERS = positive("VITRINE_WORKERS", cores())
LANES = max(1, cores() // WORKERS)
"""Batches that a worker runs at once, each on one thread: measured on two cores, two calls with one
thread each gave 1.6 times the pictures per second of one call with two."""
THREADS = 1
"""Of the runtime, within one call."""

# Decoding has threads of its own, so that it goes on while models answer.
pool = ThreadPoolExecutor(max_workers=max(2, LANES), thread_name_prefix="vitrine")
scheduler = Scheduler(LANES)
answer = Answerer(pool, scheduler)
app = create_app(pool, answer)
traffic = Traffic.from_environment(Shortcut(app, answer))
bound_connections(traffic.seconds)
entrance = tracing.traced(traffic)

# a child of BentoML's logger: shares its handler and format
log = logging.getLogger("bentoml.vitrine")


class Entrance:
    """Takes every request but those of orchestrators past BentoML, whose answers have other forms.

    BentoML would keep what the application does not know for itself, and count requests by their
    address, of which there is no end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        probe = scope["type"] != "http" or scope["path"] in PROBES
        await (self.bentoml if probe else entrance)(scope, receive, send)


class Untimed:
    """Stands in for BentoML's timeout, which leaves a timer behind for every request it has seen.

    Deadlines are `serving.traffic`'s, whose answers have the form of all others.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        del timeout
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)


# BentoML's settings refuse to do without a timeout
bentoml_traffic.TimeoutMiddleware = Untimed  # type: ignore[assignment, misc]


_to_asgi = bentoml.Service.to_asgi


def _with_entrance(self: Any, *, is_main: bool = True) -> Entrance:
    return Entrance(_to_asgi(self, is_main))


bentoml.Service.to_asgi = _with_entrance  # BentoML's own way in is behind its middlewares


@bentoml.asgi_app(traffic, path="/")
@bentoml.service(
    workers=WORKERS,
    metrics={"enabled": False},  # ours are `serving.metrics`
    # Each costs more than a small model takes to answer; measured: tracing 0.4 ms a request.
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # ours is `serving.tracing`
)
class Vitrine:
    """Vision models: what they answer, and what goes on inside."""

    def __init__(self) -> None:
        configure_logs()
        metrics.forget_the_dead()
        app.state.models = Models({}, {})
        app.state.access = Access.from_environment()
        if app.state.access.closed:
            traffic.check = app.state.access.check_address
        app.state.keeps_pictures = _keeps_pictures()
        app.state.gallery = Gallery.from_environment(threads=THREADS)
        index = bentoml.server_context.worker_index or 1
        app.state.windows = Windows(metrics.FOLDER, index)
        scheduler.crowd = Crowd(metrics.FOLDER, index, WORKERS)
        siblings = Siblings(metrics.FOLDER, index, WORKERS)
        app.state.lifecycle = Lifecycle(siblings, traffic, _load)
        app.state.lifecycle.start()

    def __is_ready__(self) -> bool:
        """Whether all models are warm, the gallery is read, and requests are taken: /readyz."""
        return traffic.closed is None and bool(app.state.models.served)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def end(self) -> None:
        """Take back what this worker had under way, and send what is known of it."""
        metrics.forget_this()
        tracing.end()


service: Any = Vitrine  # the decorators made a bentoml.Service of the class


def _load() -> None:
    """Load what has changed among the artifacts, warm it up, and let it answer from now on."""
    known = app.state.models.served
    models = Models.load(threads=THREADS, keep=app.state.models, calls=LANES)
    _load_gallery(models, app.state.gallery)
    app.state.models = models
    _spare_collector()
    if bentoml.server_context.worker_index in {None, 1} and not known:
        _announce(models)


def _spare_collector() -> None:
    """Keep the garbage collector from going through what stays loaded, which halts every request.

    What an earlier load left behind goes first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


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


def _announce(models: Models) -> None:
    """Say once what is served, on what, and what to try first."""
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
    log.info("%d workers x %d runtime threads", WORKERS, LANES)
    for route in [route for route in ROUTES if route in listed.defaults][:1]:
        sample = os.path.relpath(SAMPLE)
        log.info("try: curl -s -F image=@%s %s/v1/%s/classify", sample, service.url, route)
    log.info("in a browser: %s, described at %s/docs", service.url, service.url)
