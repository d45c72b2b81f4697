"""One worker process of the server: its application, its models, and how they are loaded.

`serving.service` imports this module in the workers only: it brings in everything that answering
takes, which the process that starts the workers has no use for.
"""

import ctypes
import gc
import logging
import os
import re
from contextlib import suppress

from artifacts import artifacts_root
from artifacts.devices import current
from artifacts.manifest import FACES
from artifacts.provenance import cores
from serving.database.errors import damage
from serving.faces.gallery import Gallery
from serving.faces.operations import face_model, verification
from serving.feedback.feedback import Feedback
from serving.http.access import Access
from serving.http.app import create_app
from serving.http.cors import with_cors
from serving.http.fast_path import FastPath
from serving.http.intake import Answerer
from serving.http.middleware import Middleware
from serving.http.pages import SAMPLE, SAMPLE_CLASS
from serving.inference.admission import Budget
from serving.inference.fair_pool import FairPool
from serving.inference.in_flight import InFlight
from serving.inference.models import Models
from serving.inference.scheduler import Scheduler
from serving.inference.served_model import ServedModel
from serving.inference.watch import FolderWatch
from serving.inspection.indexes import Indexes
from serving.inspection.recent_answers import RecentAnswers
from serving.lifecycle import Lifecycle, WorkerGroup, end_with_parent
from serving.observability import metrics, tracing
from serving.observability.logs import configure as configure_logs
from serving.problems import RequestError
from serving.settings import Settings

THREADS = 1
"""Threads of the runtime within one call."""

GPU_LANES = 2
"""Batches that a worker with a GPU runs at the same time: while one is computed, the pictures of
the next are copied."""

PRECISION_NOTES = {"int8": " in 8-bit integers", "float16": " in float16"}
"""What the log says of a model that is not served in float32."""

log = logging.getLogger("bentoml.vitrine")  # a child of BentoML's logger: it shares its format


class Worker:
    """One process that answers requests.

    Args:
        settings: of the server.
        index: of this worker, from 1.
        workers: number of workers.
    """

    def __init__(self, settings: Settings, index: int, workers: int) -> None:
        metrics.reserve_space()  # of this fork
        self.settings = settings
        self.index = index
        self.workers = workers
        self.device = current()
        share = max(1, cores() // workers)
        self.lanes = GPU_LANES if self.device.on_gpu else share
        """Batches that run at the same time, each on one thread. Measured on two cores: two calls
        with one thread each gave 1.6 times the pictures per second of one call with two."""
        # Decoding has threads of its own, so that it continues while models run.
        pool = FairPool(max(2, share))
        scheduler = Scheduler(self.lanes, InFlight(metrics.FOLDER, index, workers))
        answer = Answerer(pool, scheduler)
        self.app = create_app(pool, scheduler, answer)
        self.app.state.models = Models({}, {})
        self.app.state.indexes = Indexes()
        self.app.state.recent_answers = RecentAnswers(metrics.FOLDER, index)
        self.app.state.feedback = Feedback.from_settings(settings)
        self.app.state.keeps_pictures = settings.keep_pictures == "1"
        self.middleware = Middleware(
            FastPath(self.app, answer),
            settings.timeout,
            Budget(settings.megapixels * 1_000_000, disk=settings.bulk_megabytes * 1_000_000),
            log_all=settings.log_requests == "1",
            deadline=settings.deadline,
        )
        self.outermost = with_cors(tracing.traced(self.middleware), settings.cors_origins)
        """The middleware, traced if the environment asks for traces, with the headers of CORS."""

    @property
    def ready(self) -> bool:
        """Whether all models are warm, the gallery is read, and requests are accepted.

        Never again once a worker has found the database's file damaged.
        """
        found = metrics.FOLDER / "damaged"
        if damage.is_set():
            found.touch()
        open_ = self.middleware.closed is None and bool(self.app.state.models.served)
        return open_ and not found.exists()

    def start(self, url: str) -> None:
        """Load the models, in the background where requests are answered meanwhile.

        Args:
            url: of the server, to be shown to whoever started it.

        Raises:
            VitrineError: a setting is not valid.
        """
        url = re.sub(r"//([^/\[]*:[^/]*)(:\d+)$", r"//[\1]\2", url)  # BentoML leaves IPv6 bare
        end_with_parent(metrics.FOLDER)
        configure_logs()
        metrics.remove_dead_workers()
        access = Access.from_settings(self.settings)
        if access.keys or access.file is not None:
            self.middleware.key_name = access.name_of
        if access.closed:
            self.middleware.check = access.check_address
        metrics.show_device(self.device)
        workers = WorkerGroup(metrics.FOLDER, self.index, self.workers)
        state = self.app.state
        state.access = access
        state.gallery = Gallery.from_settings(self.settings, threads=THREADS)
        watches = self.index == 1 and self.settings.watch == "1"
        watch = FolderWatch(artifacts_root(), metrics.FOLDER / "watched") if watches else None
        state.lifecycle = Lifecycle(
            workers, self.middleware, lambda: self._load(url), watch, self._repair
        )
        state.lifecycle.start()
        if state.feedback is not None:
            state.feedback.keep_up(lambda: state.models, purges=self.index == 1)

    def end(self) -> None:
        """Remove this worker's in-flight counts, and send the traces that are left."""
        metrics.remove_this_worker()
        tracing.shutdown()

    def _load(self, url: str) -> None:
        """Load the artifacts that have changed, and have their models answer from now on."""
        known = self.app.state.models
        models = Models.load(
            threads=THREADS,
            keep=known,
            calls=self.lanes,
            shared=metrics.FOLDER,
            only=self.settings.models,
            lazy=self.settings.load == "use",
        )
        self._serve(models)
        if self.index == 1:
            if known.served:
                _log_changes(known, models)
            else:
                self._announce(models, url)
            for sentence in models.unclear_defaults:
                log.warning("%s", sentence)
            for reason in self.app.state.indexes.unavailable.values():
                log.error("%s", reason)

    def _repair(self) -> bool:
        """Load those artifacts that could not be loaded; returns whether none are left."""
        state = self.app.state
        known: Models = state.models
        models = known.try_again(threads=THREADS, calls=self.lanes, shared=metrics.FOLDER)
        if models is not known or state.indexes.unavailable:
            self._serve(models)
            _log_changes(known, models)
        return not models.unavailable and not state.indexes.unavailable

    def _serve(self, models: Models) -> None:
        """Have these models answer from now on."""
        state = self.app.state
        _load_gallery(models, state.gallery)
        _prepare_feedback(models, state.feedback)
        indexes = Indexes.load(models.served, keep=state.indexes)
        for name in state.models.served.keys() - models.served.keys():
            metrics.model_bytes.labels(name).set(0)
        for model in models.served.values():
            metrics.model_bytes.labels(model.name).set(model.resident_bytes)
        again, state.models, state.indexes = bool(state.models.served), models, indexes
        _freeze_loaded_objects(again=again)

    def _announce(self, models: Models, url: str) -> None:
        """Log once which models are served, on what, and what to try first."""
        listed = models.list()
        for model in listed.models:
            notes = PRECISION_NOTES.get(model.precision, "")
            notes += " (trained on synthetic pictures)" * model.synthetic
            log.info("model %s on %s%s", model.name, model.provider, notes)
        for broken in listed.unavailable:
            log.error("model %s is NOT SERVED: %s", broken.name, broken.reason)
        if not listed.models:
            log.error("NO MODEL TO SERVE under %s: not ready", artifacts_root())
        if self.device.problem:
            log.error("NO GPU IN USE: ALL MODELS RUN ON THE CPU. %s", self.device.problem)
        elif not self.device.on_gpu:
            log.info("all models run on the CPU")
        if not self.app.state.access.keys:
            log.warning("NO API KEYS: faces answer to this machine only, and to all on it")
        log.info("%d workers x %d runtime threads", self.workers, self.lanes)
        if path := _first_to_try(models):
            log.info("try: curl -s -F image=@%s %s%s", os.path.relpath(SAMPLE), url, path)
        log.info("in a browser: %s, described at %s/docs", url, url)


def _log_changes(before: Models, now: Models) -> None:
    """Log which models are new, replaced or gone, and which artifacts are newly broken."""
    for name, model in now.served.items():
        if name not in before.served:
            log.info("model %s is new, on %s", name, model.provider)
        elif model is not before.served[name]:
            log.info("model %s was replaced", name)
    for name in before.served.keys() - now.served.keys() - now.unavailable.keys():
        log.info("model %s was removed", name)
    for name, reason in now.unavailable.items():
        if reason != before.unavailable.get(name):
            log.error("model %s COULD NOT BE LOADED: %s", name, reason)


def _first_to_try(models: Models) -> str | None:
    """Return the path of a route or a model that can classify; one that knows the sample, if any.

    None if nothing here classifies.
    """

    def knows_sample(model: ServedModel) -> bool:
        return SAMPLE_CLASS in model.manifest.classes

    routes = models.classifiers
    if routes:
        return f"/v1/{max(routes, key=lambda route: knows_sample(routes[route]))}/classify"
    named = [model for model in models.served.values() if model.manifest.classes]
    return f"/v1/models/{max(named, key=knows_sample).name}/classify" if named else None


def _load_gallery(models: Models, gallery: Gallery) -> None:
    """Fill the index before the worker is ready; without a face model, nothing is opened."""
    if not models.of_route(FACES):
        return
    try:
        model = face_model(models, hash_=gallery.reader.model())
        gallery.load(model.artifact.hash, verification(model).metric)
    except RequestError as error:  # the other routes can answer all the same
        log.error("THE GALLERY OF FACES IS NOT READY: %s", error)  # noqa: TRY400 - it says it all


def _prepare_feedback(models: Models, feedback: Feedback | None) -> None:
    """Have the models' answers take feedback; if the database is down, that is tried again."""
    if feedback is None:
        return
    try:
        feedback.prepare(models)
    except RequestError as error:
        log.error("ANSWERS TAKE NO FEEDBACK YET: %s", error)  # noqa: TRY400 - it says it all


def _freeze_loaded_objects(*, again: bool) -> None:
    """Exempt what is loaded from garbage collection, whose passes over it halt every request.

    Objects of an earlier load are collected first, and the C library returns the memory that
    loading has left free.

    Args:
        again: whether there was an earlier load. Without one, what this process shares with the one
            that forked it stays frozen, and therefore shared.
    """
    if again:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):  # a function of glibc
        ctypes.CDLL(None).malloc_trim(0)
