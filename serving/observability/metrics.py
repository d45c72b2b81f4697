"""The Prometheus metrics at /metrics, summed over all workers of a server.

Labels are routes, models and problem codes, of which there is a fixed number. The addresses of
requests are never labels, because clients could invent any number of them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from artifacts.devices import Device
from serving.observability import tracing
from serving.run_folder import run_folder

# prometheus_client reads this variable when it is imported. BentoML would set it to a folder that
# all servers of a user share and that each of them empties, so this server uses its own folder.
FOLDER = run_folder()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(FOLDER)

FILE_BYTES = 1 << 18
"""Size of a file of metrics, enough for about a hundred models; a full one is doubled."""
FILE_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_max", "gauge_mostrecent")
"""The files that prometheus_client makes for this process, by the metrics in them."""


def reserve_space() -> None:
    """Make the files of this process, before any metric changes.

    prometheus_client would make them without space on the disk. A process that writes to a mapped
    file when the disk is full is killed (SIGBUS), and so would be the one that replaces it.

    Raises:
        OSError: there is not enough space.
    """
    for kind in FILE_KINDS:
        with (FOLDER / f"{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


reserve_space()

import prometheus_client as prometheus  # noqa: E402
from prometheus_client import multiprocess  # noqa: E402
from prometheus_client.core import GaugeMetricFamily  # noqa: E402

MEDIA_TYPE = prometheus.CONTENT_TYPE_LATEST
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

requests = prometheus.Counter(
    "vitrine_requests", "Number of requests answered.", ["route", "status"]
)
seconds = prometheus.Histogram(
    "vitrine_request_seconds",
    "Time from a request's headers to the end of its answer.",
    ["route"],
    buckets=SECONDS_BUCKETS,
)
in_flight = prometheus.Gauge(
    "vitrine_requests_under_way",
    "Number of requests not answered yet.",
    multiprocess_mode="livesum",
)
pixels = prometheus.Gauge(
    "vitrine_pixels_in_flight",
    "Number of pixels of the pictures that are in flight.",
    multiprocess_mode="livesum",
)
waiting = prometheus.Histogram(
    "vitrine_queue_seconds",
    "How long work waited for a thread, and the oldest picture of a batch for its model.",
    ["queue"],
    buckets=SECONDS_BUCKETS,
)
thread_wait, batch_wait = waiting.labels("thread"), waiting.labels("batch")
decoding = prometheus.Histogram(
    "vitrine_decode_seconds",
    "How long decoding the pictures of a request took.",
    buckets=SECONDS_BUCKETS,
)
running = prometheus.Histogram(
    "vitrine_run_seconds",
    "How long a model took for the pictures of a request.",
    buckets=SECONDS_BUCKETS,
)
tracing.observers.update(decode=decoding.observe, inference=running.observe)
queued = prometheus.Gauge(
    "vitrine_queued_pictures",
    "Number of pictures waiting for a batch.",
    multiprocess_mode="livesum",
)
batches = prometheus.Histogram(
    "vitrine_batch_pictures",
    "Number of pictures in one batch.",
    ["model"],
    buckets=BATCH_SIZE_BUCKETS,
)
pictures = prometheus.Counter("vitrine_pictures", "Number of pictures read for a model.", ["model"])
cannot_say = prometheus.Counter(
    "vitrine_cannot_say",
    "Number of pictures that a classifier answered with the verdict cannot_say.",
    ["model"],
)
refusals = prometheus.Counter("vitrine_refusals", "Number of requests refused.", ["code"])
gallery = prometheus.Gauge(
    "vitrine_gallery_pictures",
    "Number of pictures enrolled in the gallery of faces.",
    multiprocess_mode="mostrecent",
)
device_info = prometheus.Gauge(
    "vitrine_device_info",
    "1; its labels say what was asked for, what runs the models, and why no GPU does.",
    ["asked", "used", "gpus", "problem"],
    multiprocess_mode="max",
)
model_bytes = prometheus.Gauge(
    "vitrine_model_bytes",
    "Resident memory by which the workers grew when they opened the model, shared pages included.",
    ["model"],
    multiprocess_mode="livesum",
)


def show_device(device: Device) -> None:
    """Show what runs the models."""
    device_info.labels(device.asked, device.used, str(device.gpus), device.problem).set(1)


class FeedbackGauges(NamedTuple):
    """What feedback says about one version of a model; calibration is None if multi-label."""

    model: str
    version: str
    answers: int
    correct: int
    ece: float | None
    brier: float | None


class _FeedbackCollector:
    """Collects the gauges of feedback, whose values are read from the database at each scrape."""

    def __init__(self, figures: Sequence[FeedbackGauges]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the current values, for `prometheus_client`."""
        labels = ["model", "version"]
        answers = GaugeMetricFamily(
            "vitrine_feedback_answers",
            "Number of answers with feedback.",
            labels=[*labels, "result"],
        )
        errors = GaugeMetricFamily(
            "vitrine_feedback_calibration_error",
            "Expected calibration error of the answers with feedback, in 15 bins.",
            labels=labels,
        )
        scores = GaugeMetricFamily(
            "vitrine_feedback_brier_score",
            "Brier score of the predicted classes of the answers with feedback.",
            labels=labels,
        )
        for each in self._figures:
            names = [each.model, each.version]
            answers.add_metric([*names, "right"], each.correct)
            answers.add_metric([*names, "wrong"], each.answers - each.correct)
            if each.ece is not None and each.brier is not None:
                errors.add_metric(names, each.ece)
                scores.add_metric(names, each.brier)
        yield from (answers, errors, scores)


class _DriftCollector:
    """Collects the gauge of drift.

    Its values are computed at each scrape, so that none are left of models no longer served.
    """

    def __init__(self, values: Iterable[tuple[str, str, float]]) -> None:
        self._values = values

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the current values, for `prometheus_client`."""
        gauge = GaugeMetricFamily(
            "vitrine_drift",
            "Distance of the recent answers from those on the model's reference pictures.",
            labels=["model", "quantity"],
        )
        for model, quantity, value in self._values:
            gauge.add_metric([model, quantity], value)
        yield gauge


def text(drift: Iterable[tuple[str, str, float]], feedback: Sequence[FeedbackGauges]) -> bytes:
    """Return the metrics of all workers, in Prometheus's text format.

    Args:
        drift: (model, quantity, distance) for each distance of each model.
        feedback: one entry for each version of a model.
    """
    registry = prometheus.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_DriftCollector(drift))
    registry.register(_FeedbackCollector(feedback))
    return prometheus.generate_latest(registry)


def remove_dead_workers() -> None:
    """Remove the in-flight counts of workers that were killed."""
    for file in FOLDER.glob("gauge_live*_*.db"):
        found = re.search(r"_(\d+)\.db$", file.name)
        if found is None:
            continue
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(int(found[1]))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue


def remove_this_worker() -> None:
    """Remove the in-flight counts of this worker, which is about to end."""
    with suppress(OSError):
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
