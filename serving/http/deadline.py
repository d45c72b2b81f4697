"""Until when a request may take, and until when its answer is of use to its client."""

import asyncio
import re
import time
from contextlib import suppress

from starlette.datastructures import Headers

from serving.inference.callers import Caller
from serving.problems import RequestError

HEADER = "x-request-timeout"
"""The header in which a client says for how many seconds it waits for an answer."""
LONG = ("/v1/faces/import", "/v1/faces/export", "/v1/models:reload")
LONG_SECONDS = 3600.0
"""What the `LONG` addresses may take: moving a gallery of a million faces takes minutes."""
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
MAX_QUOTED = 40
"""Number of characters of a bad header that its refusal repeats."""


class Deadline:
    """The time that one request has; from its first moment in `running`.

    Args:
        caller: who sent the request. The queues read there until when the answer is of use.
        whole: what the request may take, from its headers to the end of its answer, in seconds.
    """

    def __init__(self, caller: Caller, whole: float) -> None:
        self._caller = caller
        self._whole = self._seconds = whole
        """What the request may take, and what its answer may take from the end of the body."""
        self._end = self._latest = 0.0
        """When it has taken all that it may, and when it cannot be given more."""
        self._timeout: asyncio.Timeout | None = None

    def running(self, path: str, headers: Headers, usual: float) -> asyncio.Timeout:
        """Begin, and return the context manager that cancels the request when its time is over.

        Args:
            path: of the request.
            headers: of the request.
            usual: what an answer may take unless the client says otherwise, in seconds.

        Raises:
            RequestError: the client's header is not a positive number.
        """
        if path in LONG:
            self._whole = self._seconds = LONG_SECONDS
        else:
            self._seconds = min(self._whole, _seconds_of(headers, usual))
        begun = time.monotonic()
        self._end, self._latest = begun + self._whole, begun + LONG_SECONDS
        self._caller.deadline = begun + self._seconds
        self._timeout = asyncio.timeout(self._whole)
        return self._timeout

    def body_came(self) -> None:
        """Count what an answer may take from now on."""
        if self._seconds < self._whole:
            self._move(self._seconds)

    def answer_began(self) -> None:
        """Let an answer that has begun come whole."""
        if self._seconds < self._whole:
            self._move(self._whole)

    def extend(self) -> None:
        """Give a request that has got on its time again, up to `LONG_SECONDS` altogether."""
        self._end = min(time.monotonic() + self._whole, self._latest)
        self._move(self._seconds)

    def missed(self, *, body_complete: bool) -> RequestError:
        """Return the refusal of a request whose time is over."""
        if not body_complete:
            reason = f"its body had not come within {self._whole:g} s."
            return RequestError("request-too-slow", reason)
        late = time.monotonic() >= self._end
        seconds = self._whole if late else self._seconds
        return RequestError("answer-too-late", f"it was not ready within {seconds:g} s.")

    def _move(self, seconds: float) -> None:
        """Have the request end so many seconds from now, or when it has taken all that it may."""
        if self._timeout is None:
            return
        now = time.monotonic()
        self._caller.deadline = min(now + seconds, self._end)
        with suppress(RuntimeError):  # the request is over: what is sent now is its refusal
            self._timeout.reschedule(
                asyncio.get_running_loop().time() + self._caller.deadline - now
            )


def _seconds_of(headers: Headers, usual: float) -> float:
    given = headers.get(HEADER)
    if given is None:
        return usual
    if not SECONDS.fullmatch(given) or not float(given):
        raise RequestError(
            "bad-parameter",
            f"the header X-Request-Timeout is {given[:MAX_QUOTED]!r}; send a number of seconds "
            "above 0, such as 2.5.",
        )
    return float(given)
