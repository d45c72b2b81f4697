"""What every request passes on its way in and out, before any route is looked up.

On the way in: the request's id, its caller and deadline, its place in the admission budget. On the
way out: the headers that every answer carries, one line in the log, and the metrics.
"""

import asyncio
import logging
import re
import uuid
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.deadline import Deadline
from serving.http.responses import problem_response
from serving.inference.admission import Budget
from serving.inference.callers import Caller, current_caller
from serving.observability import metrics
from serving.problems import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

LIVE = "/v2/health/live"
"""Answered while the server starts and stops, too."""
MAX_UNREAD_SECONDS = 5.0
"""How long a worker that stops reads the body of a request that it refuses."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
"""OWASP's recommendation for an API whose answers are of no use to pages of other origins."""
PAGE = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of HTML pages: nothing is loaded from other hosts."""

log = logging.getLogger("vitrine.requests")


class Middleware:
    """The outermost ASGI layer: does what is the same for every request.

    Args:
        app: the application that answers.
        seconds: what a request may take, from its headers to the end of its answer.
        budget: how much work may be in flight at once.
        log_all: log every request, not only those that fail.
        deadline: what an answer may take from the end of the request's body, in seconds, unless the
            request says otherwise.
    """

    def __init__(
        self,
        app: ASGIApp,
        seconds: float,
        budget: Budget,
        *,
        log_all: bool,
        deadline: float | None = None,
    ) -> None:
        self.app = app
        self.seconds = seconds
        self.deadline = deadline or seconds
        self.budget = budget
        self.log_all = log_all
        self.check: Callable[[Request], None] | None = None
        """Raises a `RequestError` for a request that is not allowed."""
        self.key_name: Callable[[Request], str | None] | None = None
        """Gives the name of the API key that a request has, if that is known."""
        self.in_flight = 0
        """Requests that have been let in and are not answered yet."""
        self.closed: RequestError | None = RequestError(
            "server-starting", "models are being loaded; /readyz tells when they are."
        )
        """Why every new request is refused; None while the server accepts them."""

    @property
    def stopping(self) -> bool:
        """Whether the worker stops: every connection is then closed with the next answer."""
        return self.closed is not None and self.closed.code == "server-stopping"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await RequestContext(self, scope, receive, send).run()


class RequestContext:
    """One request on its way through the middleware; handlers find it by `context_of`.

    Args:
        middleware: the layer it passes through.
        scope: of the request, as ASGI gives it.
        receive: reads the request's body.
        send: sends the answer.
    """

    def __init__(self, middleware: Middleware, scope: Scope, receive: Receive, send: Send) -> None:
        self.middleware = middleware
        self.scope = scope
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._client_left = False
        self._status = 0
        self._body_complete = False
        self._refused_for_load = False
        request = Request(scope)
        self._headers = request.headers
        given = self._headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        """The client's X-Request-ID if it sent a valid one, else a new one."""
        self.place = middleware.budget.place()
        """The request's share of the admission budget."""
        self.caller = self._find_caller(request)
        """Who sent the request, and when the answer must be ready."""
        self.deadline = Deadline(self.caller, middleware.seconds)
        self.digests: list[bytes] = []
        """Those of the request's pictures, if the ids of its answers are to hold them."""
        scope["vitrine"] = self

    async def run(self) -> None:
        """Answer the request or refuse it, and record the outcome."""
        started = perf_counter()
        try:
            if self.middleware.closed is not None and self.scope["path"] != LIVE:
                await self._refuse_at_once(self.middleware.closed)
            else:
                await self._run_counted()
        finally:
            self._record(perf_counter() - started)

    async def _run_counted(self) -> None:
        self.middleware.in_flight += 1
        metrics.in_flight.inc()
        try:
            await self._answer()
        finally:
            self.middleware.in_flight -= 1
            metrics.in_flight.dec()
            self.place.release()

    async def _answer(self) -> None:
        try:
            current_caller.set(self.caller)
            path, usual = self.scope["path"], self.middleware.deadline
            async with self.deadline.running(path, self._headers, usual) as timeout:
                if self.middleware.check is not None:
                    self.middleware.check(Request(self.scope))
                await self.middleware.app(self.scope, self.receive, self.send)
        except TimeoutError as error:
            if timeout.expired() and not self._status:
                await self._refuse(self.deadline.missed(body_complete=self._body_complete))
            elif timeout.expired():
                log.warning("an answer was cut off: it was not read in time", extra=self._logged)
            else:
                await self._fail(error)
        except asyncio.CancelledError:
            if not self._client_left or self._task is None:
                raise
            self._task.uncancel()
        except RequestError as problem:
            await self._refuse(problem)
        except ClientDisconnect:
            self._client_left = True
        except Exception as error:  # noqa: BLE001 - every failure is answered and logged
            await self._fail(error)

    async def _fail(self, error: Exception) -> None:
        if not self._status:
            await self._refuse(self.failure(error))
        elif self._status != 500:  # noqa: PLR2004 - Starlette raises again what it answered so
            # The answer has begun and can no longer be refused: the connection is cut off.
            self.failure(error)

    def failure(self, error: Exception) -> RequestError:
        """Log an unexpected error, and return what the client is told, which is less."""
        log.error("a request failed", exc_info=error, extra=self._logged)
        return RequestError("internal-error", "the server failed; its log says more.")

    @property
    def _logged(self) -> dict[str, str]:
        return {"request_id": self.id}

    def _find_caller(self, request: Request) -> Caller:
        find = self.middleware.key_name
        name = None if find is None else find(request)
        address, _ = self.scope.get("client") or ("", 0)
        return Caller(("address", address) if name is None else ("key", name))

    async def _refuse_at_once(self, problem: RequestError) -> None:
        """Refuse a request; its body is read if its connection is closed afterwards.

        Otherwise the client might be told of the reset only, and not see the answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_UNREAD_SECONDS):
                while self.middleware.stopping:
                    message = await self._receive()
                    if not message.get("more_body", False):
                        break
        await self._refuse(problem)

    async def _refuse(self, problem: RequestError) -> None:
        self._refused_for_load = problem.code == "answer-too-late"
        response = problem_response(problem, self.scope["path"])
        await response(self.scope, self._receive, self.send)

    async def receive(self) -> Message:
        """Pass a piece of the body on and count it against the budget."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.place.take_bytes(len(message.get("body", b"")))
            if not message.get("more_body", False):
                self._body_complete = True
                self.deadline.body_came()
        return message

    def client_left(self) -> None:
        """Stop working on an answer that nobody waits for: the client closed the connection.

        Until the body is complete, whoever reads it is told so instead.
        """
        if self._body_complete and not self._status and self._task is not None:
            self._client_left = True
            self._task.cancel()

    async def send(self, message: Message) -> None:
        """Pass a piece of the answer on, with the headers that all answers carry."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self.deadline.answer_began()
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
            names = {name.lower() for name, _ in headers}
            headers += [pair for pair in HEADERS.items() if pair[0] not in names]
            if self.middleware.stopping and b"connection" not in names:
                headers.append((b"connection", b"close"))
            page = any(v.startswith(b"text/html") for n, v in headers if n == b"content-type")
            if page and b"content-security-policy" not in names:
                headers.append((b"content-security-policy", PAGE))
            message = {**message, "headers": headers}
        with suppress(OSError):  # the client has closed the connection
            await self._send(message)

    def _record(self, seconds: float) -> None:
        route = getattr(self.scope.get("route"), "path", None) or "none"
        # 499 is nginx's status for a client that left before it was answered.
        status = 499 if self._client_left else self._status
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        # What load has refused is counted by the metrics; a line for each would add to the load.
        failed = status >= 500 and not self._refused_for_load  # noqa: PLR2004
        if self.middleware.log_all or failed:
            entry = {
                "request_id": self.id,
                "method": self.scope["method"],
                "path": self.scope["path"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 6),
            }
            log.log(logging.ERROR if status >= 500 else logging.INFO, "request", extra=entry)  # noqa: PLR2004


def context_of(request: Request) -> Any:
    """The `RequestContext` of a request that came through the middleware."""
    return request.scope["vitrine"]
