"""Every change to the private classes of uvicorn and BentoML, in one place.

Each patch names what would make it unnecessary. `tests/serving/http/test_patches.py` fails when an
upstream release changes what a patch relies on.
"""

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import bentoml
from starlette.types import ASGIApp
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

MAX_HEADER_BYTES = 65_536
"""Bytes of headers that one request may have; h11 and nginx allow about as much."""
MAX_HEADERS = 200
"""Number of headers that one request may have: each takes time, and 64 kB have room for 16,000.
Apache allows 100, and browsers send about 20."""
CHECK_SECONDS = 0.5
"""Time between two checks whether a worker has ended."""
LINGER_SECONDS = 1.0
"""How long a worker that stops still answers requests on connections that are open."""
TOO_LARGE = "The headers are too large."


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
    original = Server.shutdown

    async def shutdown(self: Server, sockets: list[socket.socket] | None = None) -> None:
        waiting = [listening.dup() for listening in sockets or ()]
        for server in self.servers:
            server.close()
        for listening in waiting:
            await _accept_waiting(self, listening)
        await original(self, sockets)

    Server.shutdown = shutdown  # type: ignore[method-assign]


async def _accept_waiting(server: Server, listening: socket.socket) -> None:
    """Accept the connections that the kernel has established, and close the socket.

    Connections that wait when the last process closes the socket are reset by the kernel, although
    their requests may have been sent. uvicorn leaves them there.
    """
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.Protocol:
        config, state = server.config, server.server_state
        return BoundedProtocol(config, state, server.lifespan.state, loop)

    accepted = []
    listening.setblocking(False)
    with listening, suppress(BlockingIOError):
        while True:
            accepted.append(listening.accept()[0])
    for connection in accepted:
        with suppress(OSError):  # the client has gone meanwhile
            await loop.connect_accepted_socket(protocol, connection)


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


def patch_arbiter() -> None:
    """Change how BentoML's arbiter, the process that starts the workers, watches and stops them.

    It looks for workers that have ended every `CHECK_SECONDS`: BentoML has it look every 10
    seconds, because circus fails if it looks while it does something else. And it stops listening
    as soon as it is stopped: a connection that no worker has accepted would otherwise wait, and be
    reset when the arbiter ends. This patch becomes unnecessary when circus does both.
    """
    from bentoml._internal.utils.circus import Arbiter  # noqa: PLC0415 - workers do without circus

    initialise, manage, end = Arbiter.__init__, Arbiter.manage_watchers, Arbiter.stop

    def initialise_with_delay(self: Any, *args: Any, **options: Any) -> None:
        initialise(self, *args, **{**options, "check_delay": CHECK_SECONDS})

    def manage_watchers(self: Any) -> Any:
        return None if self._exclusive_running_command else manage(self)

    def stop(self: Any) -> Any:
        if self._stopping:
            return None
        if self._exclusive_running_command:
            self.loop.call_later(CHECK_SECONDS / 10, self.stop)
            return None
        self.sockets.close_all()
        return end(self)

    Arbiter.__init__ = initialise_with_delay  # type: ignore[method-assign]
    Arbiter.manage_watchers = manage_watchers
    Arbiter.stop = stop  # type: ignore[method-assign]


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a limit on the time and the size of a request's headers.

    uvicorn waits for headers without end, and for endless headers: a few hundred connections that
    send one byte now and then would take all file descriptors of a worker, and one connection that
    never ends its headers all of its memory. Both limits were asked for in
    https://github.com/Kludex/uvicorn/issues/157; only h11 has one of them so far
    (`h11_max_incomplete_event_size`). This patch becomes unnecessary when httptools has both.
    """

    seconds = 60.0
    header_timer: asyncio.TimerHandle | None = None
    header_bytes = 0
    """Bytes of the names and values that the parser has told of the headers so far."""
    header_count = 0
    unread_bytes = 0
    """Bytes that have come since the parser told anything: a header that does not end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._start_timer()

    def on_message_begin(self) -> None:
        """Start the timer of a later request on the same connection."""
        super().on_message_begin()
        self.header_bytes = self.header_count = self.unread_bytes = 0
        if self.header_timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header and its bytes."""
        self.header_count += 1
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a header that is not complete yet."""
        self.unread_bytes += len(data)
        super().data_received(data)
        if self.header_timer is None:
            self.unread_bytes = 0
        elif self.header_bytes + self.unread_bytes > MAX_HEADER_BYTES:
            self.send_400_response(TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed, and say so if the reason is the size of the headers."""
        if self.transport.is_closing():
            return
        large = self.header_bytes > MAX_HEADER_BYTES or self.header_count > MAX_HEADERS
        super().send_400_response(TOO_LARGE if large else msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and tell the request that is being answered.

        By ASGI, an application learns it only from a task that waits for it throughout each
        request, which takes as long as parsing the request.
        """
        self._stop_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            context: Any = self.cycle.scope.get("vitrine")  # see `serving.http.middleware`
            if context is not None:
                context.client_left()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Give clients of an idle connection `LINGER_SECONDS` for a request that is on its way.

        It is answered that the server stops. uvicorn closes idle connections at once, which resets
        them if the kernel has already received a request.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def _count(self, size: int) -> None:
        self.unread_bytes = 0
        self.header_bytes += size
        if self.header_bytes > MAX_HEADER_BYTES or self.header_count > MAX_HEADERS:
            raise ValueError(TOO_LARGE)  # the parser turns it into an error of its own

    def _start_timer(self) -> None:
        self.header_timer = self.loop.call_later(self.seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None
