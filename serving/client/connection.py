"""A connection to a running server: sends, asks again when told to, and parses what comes back.

`Connection` waits, `AsyncConnection` awaits; what they make of answers is the same.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from artifacts import VitrineError
from serving.client.chunks import ServerError, UnreachableError
from serving.problems import KINDS, MEDIA_TYPE, RequestError
from serving.schemas import ProblemDocument

Parsed = TypeVar("Parsed", bound=BaseModel)

ATTEMPTS = 6
"""How often a request is sent at most, when the server says each time that it is busy."""
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more is taken at its word, and the request fails."""
BUSY = (429, 503)


class Answers:
    """What is made of a server's answers.

    Args:
        url: such as http://127.0.0.1:3000.
        timeout: seconds to wait for one request.
        key: API key, where the server has keys.
    """

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what may happen on the way into a `ServerError` of one line."""
        try:
            yield
        except httpx.ConnectError as error:
            raise UnreachableError(
                f"no server answers at {self.url} ({error}); start one with `make run`."
            ) from None
        except httpx.TimeoutException:
            raise UnreachableError(
                f"{self.url} gave no answer within {self.timeout:g} s."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            away = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            reason = str(error) or type(error).__name__
            kind = UnreachableError if away else ServerError
            raise kind(f"the request to {self.url} failed: {reason}.") from None

    def refusal(self, response: httpx.Response) -> VitrineError:
        """The error that an answer which is no success stands for."""
        if response.headers.get("content-type") == MEDIA_TYPE:
            problem = self.parse(ProblemDocument, response)
            if problem.code in KINDS:
                reason = problem.detail.removeprefix(f"picture {problem.picture}: ")
                return RequestError(problem.code, reason, problem.picture)
        return ServerError(
            f"{response.url} answered with status {response.status_code}, not as a Vitrine server "
            "does; check the address and the versions."
        )

    def parse(self, kind: type[Parsed], response: httpx.Response) -> Parsed:
        """The answer as the model `kind`.

        Raises:
            ServerError: it is none.
        """
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            raise ServerError(
                f"{response.url} gave no {kind.__name__}; check the address and the versions."
            ) from None


class Connection(Answers):
    """Asks a server, and waits; its TCP connections are kept and used again. Arguments as above."""

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        super().__init__(url, timeout, key)
        self._http = httpx.Client(timeout=timeout, headers=self.headers)

    def close(self) -> None:
        """End it."""
        self._http.close()

    def send(
        self, method: str, path: str, *, attempts: int = ATTEMPTS, **content: Any
    ) -> httpx.Response:
        """Ask for a path; `content` as httpx takes it.

        Where the server answers 429 or 503 with a Retry-After, the same is sent again after that
        time, up to `attempts` times in all.

        Raises:
            RequestError: the server refuses.
            UnreachableError: none answers.
            ServerError: one answers that is not ours.
        """
        for left in reversed(range(attempts)):
            with self.failures():
                response = self._http.request(method, self.url + path, **content)
            wait = wanted_wait(response) if left else None
            if wait is None:
                break
            time.sleep(wait)
        if not response.is_success:
            raise self.refusal(response)
        return response

    def download(self, path: str, file: Path) -> None:
        """Write what is at a path to a file, piece by piece; raises as `send`."""
        with self.failures(), self._http.stream("GET", self.url + path) as response:
            if not response.is_success:
                response.read()
                raise self.refusal(response)
            partial = file.with_name(f"{file.name}.partial")  # what is there stays until all came
            with partial.open("wb") as target:
                for piece in response.iter_bytes():
                    target.write(piece)
            partial.replace(file)


class AsyncConnection(Answers):
    """The same, awaited."""

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        super().__init__(url, timeout, key)
        self._http = httpx.AsyncClient(timeout=timeout, headers=self.headers)

    async def close(self) -> None:
        """End it."""
        await self._http.aclose()

    async def send(
        self, method: str, path: str, *, attempts: int = ATTEMPTS, **content: Any
    ) -> httpx.Response:
        """As `Connection.send`."""
        for left in reversed(range(attempts)):
            with self.failures():
                response = await self._http.request(method, self.url + path, **content)
            wait = wanted_wait(response) if left else None
            if wait is None:
                break
            await asyncio.sleep(wait)
        if not response.is_success:
            raise self.refusal(response)
        return response


def wanted_wait(response: httpx.Response) -> float | None:
    """Seconds after which the server wants to be asked again; None where it does not.

    Up to a quarter more than it says, so that clients that were sent away together do not come
    back together. Retry-After is read as a number of seconds (RFC 9110, 10.2.3), not as a date.
    """
    given = response.headers.get("retry-after", "")
    if response.status_code not in BUSY or not given.isdecimal() or float(given) > LONGEST_WAIT:
        return None
    return float(given) * random.uniform(1, 1.25)
