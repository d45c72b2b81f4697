"""Traces, as a collector gets them from a real server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from artifacts import VitrineError
from serving.observability.tracing import record, span, traced
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server

CALLER = "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        self.received: list[ResourceSpans] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def spans(self) -> list[Span]:
        return [span for r in self.received for scope in r.scope_spans for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        self.server.received += ExportTraceServiceRequest.FromString(body).resource_spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector, ThreadPoolExecutor() as pool:
        pool.submit(collector.serve_forever, 0.05)
        yield collector
        collector.shutdown()


def attributes(span: Span) -> dict[str, str | int]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_request_is_traced_through_decoding_queue_and_inference(
    collector: Collector, tmp_path: Path
) -> None:
    tiny_artifact(tmp_path / "models", "tiny")
    face_artifact(tmp_path / "models")
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",  # so spans are sent only when the server stops
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    picture = encoded(photograph(400, 300))
    routes = ["/v1/models/{name}/classify", "/v1/models/{name}/inspect", "/v1/faces/embed"]
    with running_server(tmp_path / "models", tmp_path / "log.txt", **environment) as address:
        for number, route in enumerate(routes, 1):
            parent = {"traceparent": f"00-{number:032x}-{CALLER}-01", "x-request-id": f"n{number}"}
            url = f"{address}{route.format(name='tiny')}?aligned=true"
            assert httpx.post(url, content=picture, headers=parent).status_code == 200
        pixels = np.asarray(photograph(32, 24))[None]
        tensor = {"name": "images", "datatype": "UINT8", "shape": pixels.shape}
        request = {"inputs": [tensor | {"data": pixels.ravel().tolist()}]}
        parent = {"traceparent": f"00-{4:032x}-{CALLER}-01", "x-request-id": "n4"}
        answer = httpx.post(f"{address}/v2/models/tiny/infer", json=request, headers=parent)
        assert answer.status_code == 200
        unsampled = {"traceparent": f"00-{9:032x}-{CALLER}-00"}
        url = f"{address}/v1/models/tiny/classify"
        assert httpx.post(url, content=picture, headers=unsampled).status_code == 200
        assert httpx.post(url, content=b"nothing").status_code == 415
        assert httpx.get(f"{address}/metrics").status_code == 200

    routes.append("/v2/models/{name}/infer")
    expected = [["decode", "inference", "queue", "queue"], *[["decode", "inference", "queue"]] * 3]
    for number, (route, names) in enumerate(zip(routes, expected, strict=True), 1):
        mine = [s for s in collector.spans if int.from_bytes(s.trace_id) == number]
        (root,) = [s for s in mine if s.kind == Span.SPAN_KIND_SERVER]
        assert root.parent_span_id.hex() == CALLER
        assert root.name == f"POST {route}"
        found = attributes(root)
        assert (found["http.route"], found["vitrine.request_id"]) == (route, f"n{number}")
        assert found["http.response.status_code"] == 200
        parts = sorted((s for s in mine if s is not root), key=lambda s: s.start_time_unix_nano)
        assert sorted(part.name for part in parts) == names
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            assert part.parent_span_id == root.span_id
            limit = following.start_time_unix_nano if following else root.end_time_unix_nano
            assert root.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano
            assert part.end_time_unix_nano <= limit + 1_000_000  # clocks are read one after another
    others = [s for s in collector.spans if int.from_bytes(s.trace_id) > len(routes)]
    (failed,) = [s for s in others if s.kind == Span.SPAN_KIND_SERVER]
    assert attributes(failed)["http.response.status_code"] == 415
    resource = {a.key: a.value.string_value for a in collector.received[0].resource.attributes}
    assert resource["service.name"] == "vitrine"
    assert resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_without_being_asked_nothing_is_traced(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def app(*_: object) -> None:
        pass

    assert traced(app) is app
    with span("decode") as nothing:
        assert nothing is None
    record("queue", 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
)
def test_what_cannot_be_sent_is_said(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(name, value)

    async def app(*_: object) -> None:
        pass

    with pytest.raises(VitrineError, match=value):
        traced(app)
