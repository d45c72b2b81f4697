"""The BentoML service: processes, health checks and packaging around `serving.worker`."""

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from artifacts import VitrineError, artifact_names, artifacts_root
from artifacts.devices import FOUND, check_openvino, current, use_one_gpu
from artifacts.distribution import store_url
from artifacts.names import selected
from artifacts.provenance import cores
from serving.forks import configure_malloc, patch_circus
from serving.http.patches import patch_arbiter, patch_bentoml, patch_uvicorn
from serving.observability.logs import write_all_as_json
from serving.run_folder import has_run_folder, run_folder
from serving.settings import read_settings

if TYPE_CHECKING:
    from serving.worker import Worker

PROBES = ("/livez", "/readyz", "/healthz")
"""Addresses that BentoML answers, at any time and without a key."""

configure_malloc()
# NumPy's threads spin while they wait for small products, and take a core from another worker.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

STARTS_WORKERS = not has_run_folder()
"""Whether this is the process that starts the workers, and not one of them."""

try:
    run_folder()  # made before the workers are started, so that they inherit it
except VitrineError as error:
    sys.exit(f"error: {error}")

# Images that BentoML makes set it. It has BentoML start no worker again that has died: then the
# container would go on with fewer workers, and at last with none.
os.environ.pop("BENTOML_CONTAINERIZED", None)

# Read by OpenTelemetry when it is imported: use the stable names of attributes.
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")


def _check_settings() -> None:
    settings, names = read_settings(), artifact_names()
    if settings.runtime == "openvino":
        check_openvino()
    if unknown := [name for name in settings.models if not selected((name,), names)]:
        raise VitrineError(
            f"VITRINE_MODELS names {', '.join(unknown)}; under {artifacts_root()} there are: "
            f"{', '.join(names) or 'none'}."
        )
    from serving.database.engines import check_file  # noqa: PLC0415 - while the device is being found

    check_file(settings.database)
    if settings.face_index == "pgvector":
        from serving.faces.database import check_pgvector  # noqa: PLC0415 - as above

        check_pgvector(settings.database)


def _check_start() -> str:
    """Check the settings, and have another process find the device; returns the device.

    If the models are in a store, another process pulls them first.
    """
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "serving.inference.start_check"]
    environment = {**os.environ, "PYTHONPATH": path}
    if store_url() is not None:
        pull = [sys.executable, "-m", "artifacts.stores.served", *read_settings().models]
        if code := subprocess.run(pull, env=environment, check=False).returncode:  # noqa: S603
            sys.exit(code)  # it has said why
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as finding:  # noqa: S603
        _check_settings()
        found, _ = finding.communicate()
    if finding.returncode:
        sys.exit(finding.returncode)  # it has said why
    return found.decode().splitlines()[-1]


if STARTS_WORKERS:
    try:
        os.environ[FOUND] = _check_start()
    except VitrineError as error:
        sys.exit(f"error: {error}")

settings = read_settings()
if settings.log_format == "json":
    write_all_as_json()
device = current()
workers = settings.workers or device.gpus or cores()


@cache
def worker() -> "Worker":
    """The worker of this process; the process that starts the workers never asks for it."""
    from serving.worker import Worker  # noqa: PLC0415 - after the settings are checked

    # BentoML names a folder of its own; prometheus_client reads the variable in each new process.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(run_folder())
    index = bentoml.server_context.worker_index or 1
    if device.on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = use_one_gpu(index, device.gpus)
    return Worker(settings, index, workers)


class BypassBentoml:
    """Keeps requests away from BentoML's own middleware, except those of orchestrators.

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
        await (self.bentoml if by_bentoml else worker().outermost)(scope, receive, send)


patch_uvicorn(settings.timeout)
patch_bentoml(BypassBentoml)
if bentoml.server_context.worker_index is None:  # this process starts the workers
    patch_arbiter()
    patch_circus()
    import_module("serving.worker")  # once for all workers, which are forks of this process


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what BentoML's middleware lets through: the lifespan of the process."""
    await worker().middleware(scope, receive, send)


@bentoml.asgi_app(application, path="/")
@bentoml.service(
    workers=workers,
    metrics={"enabled": False},  # replaced by serving.observability.metrics
    # Either of these costs more than a small model takes to answer; tracing alone 0.4 ms a request.
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # replaced by serving.observability.tracing
)
class Vitrine:
    """Vision models: what they answer, and what goes on inside."""

    def __init__(self) -> None:
        worker().start(service.url)

    def __is_ready__(self) -> bool:
        """Whether this worker can answer: /readyz."""
        return worker().ready

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def end(self) -> None:
        """Let go of what outlives the process."""
        worker().end()


service: Any = Vitrine  # the decorators made a bentoml.Service of the class
