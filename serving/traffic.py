"""What every request passes on its way in and out, before any route is looked up.

Its id, its place among the requests under way, its deadline; and on the way out the headers that
every answer has, one line in the log, and the metrics.
"""

import asyncio
import logging
import os
import re
import uuid
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artifacts import VitrineError
from serving import metrics
from serving.admission import Budget
from serving.problems import MEDIA_TYPE, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

PROBES = ("/livez", "/readyz", "/healthz")
"""Answered by BentoML, at any time and without a key."""
LONG = ("/v1/faces/import", "/v1/faces/export", "/v1/models:reload")
LONG_SECONDS = 3600.0
"""For a gallery of a million faces, which takes minutes."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RETRY = ("overloaded", "answer-too-late", "server-starting", "server-stopping")
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
"""OWASP's for an API whose answers no page of another origin has a use for."""
PAGE = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of pages: nothing from elsewhere."""

log = logging.getLogger("vitrine.requests")


def problem_response(problem: RequestError, headers: Any = None) -> Response:
    """A refusal as RFC 9457 wants it."""
    more = dict(headers or {})
    if problem.code in RETRY:
        more["Retry-After"] = "1"
    if problem.code == "no-key":
        more["WWW-Authenticate"] = "Bearer"
    if problem.code in {"server-stopping", "request-too-slow"}:
        more["Connection"] = "close"
    metrics.refusals.labels(problem.code).inc()
    return Response(to_json(problem.content()), problem.status, more, MEDIA_TYPE)


class Traffic:
    """The application, with all that is the same for every request around it.

    Args:
        app: what answers.
        seconds: that a request may take in all, from its headers to its answer.
        budget: what may be under way at once.
        log_all: write a line for each request, not only for those that failed.
    """

    def __init__(self, app: ASGIApp, seconds: float, budget: Budget, *, log_all: bool) -> None:
        self.app = app
        self.seconds = seconds
        self.budget = budget
        self.log_all = log_all
        self.check: Callable[[Request], None] | None = None
        """Raises a `RequestError` for a request that may not pass."""
        self.under_way = 0
        self.closed: RequestError | None = RequestError(
            "server-starting", "models are being loaded; /readyz tells when they are."
        )
        """Why nothing is taken on; None while all is well."""

    @classmethod
    def from_environment(cls, app: ASGIApp) -> "Traffic":
        """As `VITRINE_TIMEOUT`, `VITRINE_MEGAPIXELS` and `VITRINE_LOG_REQUESTS` say.

        Raises:
            VitrineError: one of them makes no sense.
        """
        log_all = os.environ.get("VITRINE_LOG_REQUESTS") or "0"
        if log_all not in {"0", "1"}:
            raise VitrineError(f"VITRINE_LOG_REQUESTS={log_all}: 1 (log them) or 0 is expected.")
        budget = Budget(pixels=positive("VITRINE_MEGAPIXELS", 128) * 1_000_000)
        return cls(app, positive("VITRINE_TIMEOUT", 60), budget, log_all=log_all == "1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Passage(self, scope, receive, send).run()


class _Passage:
    """One request on its way."""

    def __init__(self, traffic: Traffic, scope: Scope, receive: Receive, send: Send) -> None:
        self.traffic = traffic
        self.scope = scope
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[Message] | None = None
        self._gone = False
        self._status = 0
        self._arrived = False
        given = Request(scope).headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.place = traffic.budget.place()
        scope["vitrine"] = self

    async def run(self) -> None:
        """Let it through, or not; and note how it went."""
        started = perf_counter()
        try:
            if self.traffic.closed is not None:
                await self._refuse(self.traffic.closed)
            else:
                await self._pass()
        finally:
            self._record(perf_counter() - started)

    async def _pass(self) -> None:
        self.traffic.under_way += 1
        metrics.under_way.inc()
        try:
            await self._answer()
        finally:
            self.traffic.under_way -= 1
            metrics.under_way.dec()
            self.place.leave()
            if self._watcher is not None:
                self._watcher.cancel()

    async def _answer(self) -> None:
        seconds = LONG_SECONDS if self.scope["path"] in LONG else self.traffic.seconds
        try:
            async with asyncio.timeout(seconds) as deadline:
                if self.traffic.check is not None:
                    self.traffic.check(Request(self.scope))
                await self.traffic.app(self.scope, self.receive, self.send)
        except TimeoutError as error:
            if deadline.expired() and not self._status:
                await self._refuse(self._late(seconds))
            else:
                await self._fail(error)
        except asyncio.CancelledError:
            if not self._gone or self._task is None:
                raise
            self._task.uncancel()
        except RequestError as problem:
            await self._refuse(problem)
        except ClientDisconnect:
            self._gone = True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered and logged
            await self._fail(error)

    async def _fail(self, error: Exception) -> None:
        if not self._status:
            await self._refuse(self.failure(error))
        elif self._status != 500:  # noqa: PLR2004 - Starlette raises again what it answered so
            self.failure(error)  # an answer that has begun is cut off: it cannot be refused

    def failure(self, error: Exception) -> RequestError:
        """What the client is told of an error that the log alone tells."""
        log.error("a request failed", exc_info=error, extra={"request_id": self.id})
        return RequestError("internal-error", "the server failed; its log says more.")

    def _late(self, seconds: float) -> RequestError:
        if self._arrived:
            return RequestError("answer-too-late", f"it was not ready within {seconds:g} s.")
        return RequestError("request-too-slow", f"its body had not come within {seconds:g} s.")

    async def _refuse(self, problem: RequestError) -> None:
        response = problem_response(problem)
        await response(self.scope, self._receive, self.send)

    async def receive(self) -> Message:
        """Pass the body on, charged for; from its end on, watch for the client to go away."""
        if self._watcher is not None:
            return await asyncio.shield(self._watcher)
        message = await self._receive()
        if message["type"] == "http.request":
            self.place.take_bytes(len(message.get("body", b"")))
            if not message.get("more_body", False):
                self._arrived = True
                self._watcher = asyncio.create_task(self._watch())
        return message

    async def _watch(self) -> Message:
        message = await self._receive()
        if not self._status and self._task is not None:
            self._gone = True
            self._task.cancel()
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the headers that all have."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
            names = {name.lower() for name, _ in headers}
            headers += [pair for pair in HEADERS.items() if pair[0] not in names]
            page = any(v.startswith(b"text/html") for n, v in headers if n == b"content-type")
            if page and b"content-security-policy" not in names:
                headers.append((b"content-security-policy", PAGE))
            message = {**message, "headers": headers}
        with suppress(OSError):  # the client has gone
            await self._send(message)

    def _record(self, seconds: float) -> None:
        route = getattr(self.scope.get("route"), "path", None) or "none"
        # 499, as nginx has it: nobody was there any more to be answered
        status = 499 if self._gone else self._status
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if self.traffic.log_all or status >= 500:  # noqa: PLR2004
            entry = {
                "request_id": self.id,
                "method": self.scope["method"],
                "path": self.scope["path"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 6),
            }
            log.log(logging.ERROR if status >= 500 else logging.INFO, "request", extra=entry)  # noqa: PLR2004


def passage_of(request: Request) -> Any:
    """What a request passes through, where a server runs it."""
    return request.scope["vitrine"]


def positive(name: str, default: int) -> int:
    """A setting that is a whole number from 1 on.

    Raises:
        VitrineError: it is none.
    """
    given = os.environ.get(name) or str(default)
    if not (given.isascii() and given.isdecimal()) or int(given) < 1:
        raise VitrineError(f"{name}={given}: a whole number from 1 on is expected.")
    return int(given)
