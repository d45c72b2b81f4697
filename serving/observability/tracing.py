"""OpenTelemetry traces of requests, if the standard environment variables enable them.

Each request is a span, which is a child of the caller's span if the caller sends `traceparent` (W3C
Trace Context). Within it are the spans `decode`, `queue` (waiting for a thread or a batch) and
`inference`.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from artifacts import VitrineError
from artifacts.distribution import install_command

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

observers: dict[str, Callable[[float], None]] = {}
"""What is told of the seconds that each span of a name took, whether it is traced or not."""
_provider: Any = None


def traced(app: "ASGIApp") -> "ASGIApp":
    """Return the application with a span around each request, or unchanged if tracing is off.

    BentoML's own tracing does not read these variables, and costs time in every request even when
    it is off. This function uses the same middleware as BentoML.

    Raises:
        VitrineError: the variables ask for an exporter or a protocol that is not supported, or
            OpenTelemetry is not installed.
    """
    global _provider  # noqa: PLW0603 - there is one per process
    if not _traces_wanted():
        return app
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise VitrineError(
            "the environment asks for OpenTelemetry traces, but OpenTelemetry is not installed; "
            f"run `{install_command('tracing')}`, or set OTEL_TRACES_EXPORTER=none."
        ) from None
    resource = Resource.create({"service.name": "vitrine"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _provider = provider
    return OpenTelemetryMiddleware(
        _with_route_names(app),
        excluded_urls="/metrics$",
        default_span_details=lambda scope: (scope["method"], {}),
        tracer_provider=provider,
        exclude_spans=["receive", "send"],
    )


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """Return a context that is recorded as a span of the current request."""
    context: AbstractContextManager[Any] = nullcontext()
    if _provider is not None:
        tracer = _provider.get_tracer(__name__)
        context = tracer.start_as_current_span(name, attributes=attributes)
    observe = observers.get(name)
    return context if observe is None else _Timed(context, observe)


class _Timed:
    """A context whose seconds are told; a generator would take twice as long."""

    __slots__ = ("_begun", "_context", "_observe")

    def __init__(
        self, context: AbstractContextManager[Any], observe: Callable[[float], None]
    ) -> None:
        self._context = context
        self._observe = observe

    def __enter__(self) -> Any:
        self._begun = time.perf_counter()
        return self._context.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> bool | None:
        self._observe(time.perf_counter() - self._begun)
        return self._context.__exit__(kind, error, traceback)


def record(name: str, begun: float, ended: float, **attributes: str | int) -> None:
    """Record a finished span of the current request, between two readings of `perf_counter`."""
    if name in observers:
        observers[name](ended - begun)
    if _provider is None:
        return
    epoch = time.time() - time.perf_counter()
    start, end = (int((reading + epoch) * 1e9) for reading in (begun, ended))
    _provider.get_tracer(__name__).start_span(name, start_time=start, attributes=attributes).end(
        end
    )


def shutdown() -> None:
    """Send the remaining spans; exit handlers cannot, as uvicorn ends the process without them."""
    if _provider is not None:
        _provider.shutdown()


def _traces_wanted() -> bool:
    default = "otlp" if any(map(os.environ.get, ENDPOINTS)) else "none"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or default
    if exporter not in {"otlp", "none"}:
        raise VitrineError(f"OTEL_TRACES_EXPORTER={exporter} is not supported; use otlp or none.")
    protocols = [os.environ[name] for name in PROTOCOLS if os.environ.get(name)]
    if exporter == "otlp" and protocols[:1] not in ([], ["http/protobuf"]):
        raise VitrineError(f"the OTLP protocol {protocols[0]} is not supported; use http/protobuf.")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return exporter == "otlp" and not disabled


def _with_route_names(app: "ASGIApp") -> "ASGIApp":
    """Name the span of each request after its route, which is known once the answer begins.

    Addresses would not do as names, because clients can invent any number of them.
    """
    from opentelemetry import trace

    async def named(scope: "Scope", receive: "Receive", send: "Send") -> None:
        async def naming(message: "Message") -> None:
            if message["type"] == "http.response.start":
                current = trace.get_current_span()
                current.set_attribute("vitrine.request_id", scope["vitrine"].id)
                if route := getattr(scope.get("route"), "path", None):
                    current.update_name(f"{scope['method']} {route}")
                    current.set_attribute("http.route", route)
            await send(message)

        await app(scope, receive, naming)

    return named
