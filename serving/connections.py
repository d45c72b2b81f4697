"""uvicorn's protocol, bounded in what a client may do, and with answers that are sent in one piece.

uvicorn waits for the headers of a request for ever, and for headers without end: some hundred
connections that send a byte now and then would take all of a worker's file descriptors, and one
that never ends its headers all of its memory.

It sends the headers of an answer as soon as it has them. Alone they tell a client nothing, wake it,
and cost as much as the whole answer of a small network: they wait for what comes after them.
"""

import asyncio
import resource
from typing import TYPE_CHECKING

from uvicorn.protocols.http import auto, httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

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
    httptools_impl.RequestResponseCycle = WholeAnswer  # type: ignore[misc]


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


class Joined(asyncio.Transport):
    """Collects what is written, and then does it at once.

    Args:
        transport: to write to.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._ends = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Write later."""
        self._parts.append(data)

    def close(self) -> None:
        """Close after that."""
        self._ends = True

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._ends or self._transport.is_closing()

    def flush(self) -> None:
        """Do it now."""
        self._transport.write(b"".join(self._parts))
        if self._ends:
            self._transport.close()


class WholeAnswer(RequestResponseCycle):
    """uvicorn's sending of an answer, with the first part of the body behind its headers."""

    start: "ASGISendEvent | None" = None

    async def send(self, message: "ASGISendEvent") -> None:
        """Keep the headers back until something follows them."""
        if message["type"] == "http.response.start":
            self.start = message
            return
        if self.start is None:
            await super().send(message)
            return
        start, self.start = self.start, None
        transport = self.transport
        joined = self.transport = Joined(transport)
        try:
            await super().send(start)
            await super().send(message)
        finally:
            self.transport = transport
            joined.flush()
