"""Every change to the private classes of uvicorn and BentoML, in one place.

Each patch names what would make it unnecessary. `tests/serving/http/test_patches.py` fails when an
upstream release changes what a patch relies on.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import Any

import bentoml
from starlette.types import ASGIApp
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536
"""Bytes of headers that one request may have; h11 and nginx allow about as much."""


def patch_uvicorn(seconds: float) -> None:
    """Have uvicorn use `BoundedProtocol` when it starts in this process.

    Also raises the limit on open files, of which every connection takes one.

    Args:
        seconds: time allowed from the opening of a connection, or the first byte of a later
            request, to the end of the request's headers.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    BoundedProtocol.seconds = seconds
    auto.AutoHTTPProtocol = BoundedProtocol


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
