"""Every change to the private classes of uvicorn and BentoML, in one place.

Each patch names what would make it unnecessary. `tests/serving/http/test_patches.py` fails when an
upstream release changes what a patch relies on.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bentoml
from starlette.types import ASGIApp
from uvicorn.protocols.http import auto, httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

MAX_HEADER_BYTES = 65_536
"""Bytes of headers that one request may have; h11 and nginx allow about as much."""


def patch_uvicorn(seconds: float) -> None:
    """Have uvicorn use `BoundedProtocol` and `WholeAnswer` when it starts in this process.

    Also raises the limit on open files, of which every connection takes one.

    Args:
        seconds: time allowed from the opening of a connection, or the first byte of a later
            request, to the end of the request's headers.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    BoundedProtocol.seconds = seconds
    auto.AutoHTTPProtocol = BoundedProtocol
    httptools_impl.RequestResponseCycle = WholeAnswer  # type: ignore[misc]


def patch_bentoml(wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Put an ASGI layer around BentoML's whole application.

    BentoML adds the middleware of a service behind its own, in an order that
    https://github.com/bentoml/BentoML/pull/4761 fixed, so `Service.to_asgi` is the only place
    outside of them. This patch becomes unnecessary when a service can choose its outermost layer.

    Args:
        wrap: makes the outer layer from BentoML's application.
    """
    original = bentoml.Service.to_asgi

    def to_asgi(self: Any, *, is_main: bool = True) -> ASGIApp:
        return wrap(original(self, is_main))

    bentoml.Service.to_asgi = to_asgi


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a limit on the time and the size of a request's headers.

    uvicorn waits for headers without end, and for endless headers: a few hundred connections that
    send one byte now and then would take all file descriptors of a worker, and one connection that
    never ends its headers all of its memory. Both limits were asked for in
    https://github.com/Kludex/uvicorn/issues/157; only h11 has one of them so far
    (`h11_max_incomplete_event_size`). This patch becomes unnecessary when httptools has both.
    """

    seconds = 60.0
    header_timer: asyncio.TimerHandle | None = None
    header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._start_timer()

    def on_message_begin(self) -> None:
        """Start the timer of a later request on the same connection."""
        super().on_message_begin()
        if self.header_timer is None:
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of headers that are not complete yet."""
        super().data_received(data)
        if self.header_timer is not None:
            self.header_bytes += len(data)
            if self.header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self.header_bytes = 0
        self.header_timer = self.loop.call_later(self.seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None


class JoinedWrites(asyncio.Transport):
    """Collects what is written to a transport, and writes it in one call.

    Args:
        transport: to write to.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._closing = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Keep the data until `flush`."""
        self._parts.append(data)

    def close(self) -> None:
        """Close the transport after `flush`."""
        self._closing = True

    def is_closing(self) -> bool:
        """Whether nothing more will be sent."""
        return self._closing or self._transport.is_closing()

    def flush(self) -> None:
        """Write everything, and close the transport if that was asked for."""
        self._transport.write(b"".join(self._parts))
        if self._closing:
            self._transport.close()


class WholeAnswer(RequestResponseCycle):
    """uvicorn's sending of an answer, with headers and the first part of the body in one write.

    uvicorn writes the headers as soon as it has them. On their own they tell a client nothing but
    wake it up, at the cost of a second system call. No issue asks uvicorn for it; aiohttp joins the
    two since https://github.com/aio-libs/aiohttp/pull/10991. This patch becomes unnecessary when
    uvicorn does, too.
    """

    start: "ASGISendEvent | None" = None

    async def send(self, message: "ASGISendEvent") -> None:
        """Hold the headers back until the first part of the body follows."""
        if message["type"] == "http.response.start":
            self.start = message
            return
        if self.start is None:
            await super().send(message)
            return
        start, self.start = self.start, None
        transport = self.transport
        joined = self.transport = JoinedWrites(transport)
        try:
            await super().send(start)
            await super().send(message)
        finally:
            self.transport = transport
            joined.flush()
