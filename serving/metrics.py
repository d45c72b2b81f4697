"""What Prometheus is told at /metrics, over all workers of a server.

Labels are names of routes, models and codes, of which there is a fixed number; never addresses,
which clients invent.
"""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

# A folder that this server alone writes to, and one that a worker inherits. It must be known before
# the library is imported; BentoML's own is one for all servers of a user, and emptied by each.
if "VITRINE_RUN" not in os.environ:
    os.environ["VITRINE_RUN"] = tempfile.mkdtemp(prefix="vitrine-")
    atexit.register(shutil.rmtree, os.environ["VITRINE_RUN"], ignore_errors=True)
FOLDER = Path(os.environ["VITRINE_RUN"])
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(FOLDER)

import prometheus_client as prometheus  # noqa: E402
from prometheus_client import multiprocess  # noqa: E402
from prometheus_client.core import GaugeMetricFamily  # noqa: E402

MEDIA_TYPE = prometheus.CONTENT_TYPE_LATEST
TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

requests = prometheus.Counter("vitrine_requests", "Requests answered.", ["route", "status"])
seconds = prometheus.Histogram(
    "vitrine_request_seconds", "From headers to the end of the answer.", ["route"], buckets=TIMES
)
under_way = prometheus.Gauge(
    "vitrine_requests_under_way", "Requests not answered yet.", multiprocess_mode="livesum"
)
pixels = prometheus.Gauge(
    "vitrine_pixels_in_flight",
    "Pixels of pictures that wait or are worked on.",
    multiprocess_mode="livesum",
)
waiting = prometheus.Histogram(
    "vitrine_queue_seconds",
    "How long work waited for a thread, and the oldest picture of a batch for the model.",
    ["queue"],
    buckets=TIMES,
)
thread_wait, batch_wait = waiting.labels("thread"), waiting.labels("batch")
queued = prometheus.Gauge(
    "vitrine_queued_pictures", "Pictures that wait for a batch.", multiprocess_mode="livesum"
)
batches = prometheus.Histogram(
    "vitrine_batch_pictures", "Pictures run in one batch.", ["model"], buckets=SIZES
)
pictures = prometheus.Counter("vitrine_pictures", "Pictures read for a model.", ["model"])
refusals = prometheus.Counter("vitrine_refusals", "Requests refused.", ["code"])
gallery = prometheus.Gauge(
    "vitrine_gallery_pictures",
    "Pictures enrolled in the gallery of faces.",
    multiprocess_mode="mostrecent",
)


class _Drift:
    """A gauge whose values are made when they are asked for: none outlives what it is of."""

    def __init__(self, values: Iterable[tuple[str, str, float]]) -> None:
        self._values = values

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As `prometheus_client` asks for it."""
        gauge = GaugeMetricFamily(
            "vitrine_drift",
            "Distance of the last answers from what the model was validated on.",
            labels=["model", "quantity"],
        )
        for model, quantity, value in self._values:
            gauge.add_metric([model, quantity], value)
        yield gauge


def text(drift: Iterable[tuple[str, str, float]]) -> bytes:
    """All of them, over all workers; and the drift as (model, quantity, distance)."""
    registry = prometheus.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_Drift(drift))
    return prometheus.generate_latest(registry)


def forget_the_dead() -> None:
    """Drop what workers that were killed had under way."""
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


def forget_this() -> None:
    """Drop what this worker has under way, when it ends."""
    with suppress(OSError):
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
