"""A connection to a running server: sends calls, waits while the server is busy, reads answers.

`Connection` blocks and `AsyncConnection` awaits; both treat responses and failures alike.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from artifacts import VitrineError
from serving.client.calls import Call, json_of
from serving.client.chunks import ServerError, UnreachableError
from serving.problems import KINDS, MEDIA_TYPE, RequestError
from serving.schemas import ProblemDocument

Answer = TypeVar("Answer")

MAX_WAIT = 60.0
"""Seconds. If a server asks for a longer wait, the request fails at once."""
BUSY = (429, 503)
PIECE_BYTES = 1 << 20
"""Bytes that are read from a file at a time."""


class BaseConnection:
    """What both kinds of connection share: the address, the key, and the reading of responses.

    Args:
        url: such as http://127.0.0.1:3000.
        timeout: maximum time that one request may take to connect, and between two pieces of the
            response, in seconds.
        key: API key, if the server has keys.
    """

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn the errors of httpx into a `ServerError` with a message of one line."""
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
            lost = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            reason = str(error) or type(error).__name__
            kind = UnreachableError if lost else ServerError
            raise kind(f"the request to {self.url} failed: {reason}.") from None

    def read(self, call: Call[Answer], response: httpx.Response) -> Answer:
        """Return the answer of a response, or raise the error that it stands for."""
        if not response.is_success:
            raise self.refusal(response)
        return call.read(response)

    def refusal(self, response: httpx.Response) -> VitrineError:
        """Return the error that an unsuccessful response stands for."""
        if response.headers.get("content-type") == MEDIA_TYPE:
            problem = json_of(ProblemDocument)(response)
            if problem.code in KINDS:
                return RequestError(problem.code, problem.reason, problem.picture, problem.name)
        return ServerError(
            f"{response.url} answered with status {response.status_code}, not as a Vitrine server "
            "does; check the address and the versions."
        )


class Connection(BaseConnection):
    """Sends calls to a server and blocks; its TCP connections are kept alive and reused.

    Args:
        url: see `BaseConnection`.
        timeout: see `BaseConnection`.
        key: see `BaseConnection`.
    """

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        super().__init__(url, timeout, key)
        self._http = httpx.Client(timeout=timeout, headers=self.headers)

    def close(self) -> None:
        """Close the TCP connections."""
        self._http.close()

    def ask(self, call: Call[Answer]) -> Answer:
        """Send a call and return its answer.

        If the server answers 429 or 503 with a Retry-After header, the same request is sent again
        after that time, up to `call.attempts` times in total.

        Raises:
            RequestError: the server refuses the request.
            UnreachableError: no server answers.
            ServerError: the answer is not that of a Vitrine server.
        """
        for retries_left in reversed(range(call.attempts)):
            with self.failures():
                response = self._http.request(call.method, self.url + call.path, **call.options)
            delay = retry_delay(response) if retries_left else None
            if delay is None:
                break
            time.sleep(delay)
        return self.read(call, response)

    def ask_by_line(
        self, call: Call[Any], file: Path, read: Callable[[bytes], Answer]
    ) -> Iterator[Answer]:
        """Send a call with the content of a file, and yield its answer line by line.

        Raises:
            VitrineError: see `ask`; once there is a line, the call is not sent again.
        """
        for retries_left in reversed(range(call.attempts)):
            with (
                self.failures(),
                file.open("rb") as content,
                self._http.stream(
                    call.method, self.url + call.path, content=content, **call.options
                ) as response,
            ):
                delay = retry_delay(response) if retries_left else None
                if delay is None:
                    if not response.is_success:
                        response.read()
                        raise self.refusal(response)
                    lines = _Lines()
                    for piece in response.iter_bytes():
                        yield from map(read, lines.add(piece))
                    return
            time.sleep(delay)

    def download(self, call: Call[Any], file: Path) -> None:
        """Write the content of the response to a file, in pieces.

        An existing file is replaced only once the whole content has arrived.

        Raises:
            VitrineError: see `ask`; a download is attempted once.
        """
        with self.failures(), self._http.stream(call.method, self.url + call.path) as response:
            if not response.is_success:
                response.read()
                raise self.refusal(response)
            partial = _partial(file)
            with partial.open("wb") as target:
                for piece in response.iter_bytes():
                    target.write(piece)
            partial.replace(file)


class AsyncConnection(BaseConnection):
    """Sends calls to a server and awaits the answers; the counterpart of `Connection`.

    Args:
        url: see `BaseConnection`.
        timeout: see `BaseConnection`.
        key: see `BaseConnection`.
    """

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        super().__init__(url, timeout, key)
        self._http = httpx.AsyncClient(timeout=timeout, headers=self.headers)

    async def close(self) -> None:
        """Close the TCP connections."""
        await self._http.aclose()

    async def ask(self, call: Call[Answer]) -> Answer:
        """Send a call and return its answer; see `Connection.ask`."""
        for retries_left in reversed(range(call.attempts)):
            with self.failures():
                response = await self._http.request(
                    call.method, self.url + call.path, **call.options
                )
            delay = retry_delay(response) if retries_left else None
            if delay is None:
                break
            await asyncio.sleep(delay)
        return self.read(call, response)

    async def ask_by_line(
        self, call: Call[Any], file: Path, read: Callable[[bytes], Answer]
    ) -> AsyncIterator[Answer]:
        """Send a call with the content of a file; see `Connection.ask_by_line`."""
        size = (await asyncio.to_thread(file.stat)).st_size
        headers = {**call.options.get("headers", {}), "Content-Length": str(size)}
        options = {**call.options, "headers": headers}
        for retries_left in reversed(range(call.attempts)):
            with self.failures():
                async with self._http.stream(
                    call.method, self.url + call.path, content=pieces(file), **options
                ) as response:
                    delay = retry_delay(response) if retries_left else None
                    if delay is None:
                        if not response.is_success:
                            await response.aread()
                            raise self.refusal(response)
                        lines = _Lines()
                        async for piece in response.aiter_bytes():
                            for line in lines.add(piece):
                                yield read(line)
                        return
            await asyncio.sleep(delay)

    async def download(self, call: Call[Any], file: Path) -> None:
        """Write the content of the response to a file; see `Connection.download`."""
        with self.failures():
            async with self._http.stream(call.method, self.url + call.path) as response:
                if not response.is_success:
                    await response.aread()
                    raise self.refusal(response)
                partial = _partial(file)
                with await asyncio.to_thread(partial.open, "wb") as target:
                    async for piece in response.aiter_bytes():
                        await asyncio.to_thread(target.write, piece)
                await asyncio.to_thread(partial.replace, file)


class _Lines:
    """Puts the lines of an answer together from its pieces; only a line feed ends a line."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, piece: bytes) -> list[bytes]:
        """Return the lines that are complete with this piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return lines


async def pieces(file: Path) -> AsyncIterator[bytes]:
    """Yield the content of a file in pieces, without blocking the event loop."""
    with await asyncio.to_thread(file.open, "rb") as content:
        while piece := await asyncio.to_thread(content.read, PIECE_BYTES):
            yield piece


def retry_delay(response: httpx.Response) -> float | None:
    """Seconds to wait before the request is sent again; None if it is not to be sent again.

    The delay is up to a quarter longer than the server says, so that clients that were turned away
    together do not return together. Retry-After is read as a number of seconds (RFC 9110, 10.2.3);
    a date is ignored.
    """
    given = response.headers.get("retry-after", "")
    if response.status_code not in BUSY or not given.isdecimal() or float(given) > MAX_WAIT:
        return None
    return float(given) * random.uniform(1, 1.25)


def _partial(file: Path) -> Path:
    return file.with_name(f"{file.name}.partial")
