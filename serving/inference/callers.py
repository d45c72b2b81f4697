"""Who asks, and until when the answer is of use: what the queues must know of a request."""

import math
import time
from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass

from serving.problems import RequestError

SAFE = 0.8
"""Share of the time until a deadline that a predicted wait may take. The prediction does not know
what the server will do besides, and an answer that is late was computed in vain."""


@dataclass(slots=True, eq=False)
class Caller:
    """The sender of one request.

    Clients share the server equally, and the requests of one client share what the client gets.
    People behind one address, or programs with one key, are thereby told apart, too: a connection
    has one request at a time, and a proxy may send those of many people over one connection.
    """

    client: Hashable
    """The name of the API key that the request has, or else the address that it came from."""
    deadline: float = math.inf
    """When the answer must be ready; a reading of `time.monotonic`."""

    @property
    def late(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return time.monotonic() >= self.deadline

    def check_wait(self, seconds: float) -> None:
        """Check that an answer that is ready in so many seconds is in time.

        Raises:
            RequestError: it is not; it says when to come back.
        """
        left = self.deadline - time.monotonic()
        if seconds > SAFE * left:
            raise RequestError(
                "answer-too-late",
                f"{seconds:.1f} s of work go before its answer, and its deadline is in "
                f"{max(0.0, left):.1f} s; try again later, or with fewer pictures.",
                retry_after=seconds - SAFE * left,
            )


NOBODY = Caller("")
"""The caller of work that no request asked for."""

current_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""The caller of the request that the present task works for."""
