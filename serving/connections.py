"""Bounds on what a client may do before its request has begun, which uvicorn leaves open.

uvicorn waits for the headers of a request for ever, and for headers without end: some hundred
connections that send a byte now and then would take all of a worker's file descriptors, and one
that never ends its headers all of its memory.
"""

import asyncio
import resource

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536
"""Of one request; what h11 and nginx allow is of this order."""


def bound_connections(seconds: float) -> None:
    """Have uvicorn, when it starts in this process, close connections that overdo it.

    Args:
        seconds: from the connection, or the first byte of a later request, to the end of headers.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one for each connection
    Bounded.seconds = seconds
    auto.AutoHTTPProtocol = Bounded


class Bounded(HttpToolsProtocol):
    """uvicorn's protocol, with a clock and a counter for headers."""

    seconds = 60.0
    header_timer: asyncio.TimerHandle | None = None
    header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._begin()

    def on_message_begin(self) -> None:
        """Start the clock of a later request."""
        super().on_message_begin()
        if self.header_timer is None:
            self._begin()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._end()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to headers that have not ended."""
        super().data_received(data)
        if self.header_timer is not None:
            self.header_bytes += len(data)
            if self.header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self.header_bytes = 0
        self.header_timer = self.loop.call_later(self.seconds, self.transport.close)

    def _end(self) -> None:
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None
