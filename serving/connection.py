"""One connection to a running server: sends, parses, and turns refusals into errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from artifacts import VitrineError
from serving.chunks import ServerError, UnreachableError
from serving.problems import KINDS, MEDIA_TYPE, RequestError
from serving.schemas import ProblemDocument

Parsed = TypeVar("Parsed", bound=BaseModel)


class Connection:
    """Asks a server over HTTP.

    Args:
        url: such as http://127.0.0.1:3000.
        timeout: seconds to wait for one request.
        key: API key, where the server has keys.
    """

    def __init__(self, url: str, timeout: float, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(timeout=timeout, headers=headers)

    def close(self) -> None:
        """End it."""
        self._http.close()

    def send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Ask for a path; `content` as httpx takes it.

        Raises:
            RequestError: the server refuses.
            UnreachableError: none answers.
            ServerError: one answers that is not ours.
        """
        with self._failures():
            response = self._http.request(method, self.url + path, **content)
        if not response.is_success:
            raise self._refusal(response)
        return response

    def download(self, path: str, file: Path) -> None:
        """Write what is at a path to a file, piece by piece; raises as `send`."""
        with self._failures(), self._http.stream("GET", self.url + path) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            with file.open("wb") as target:
                for piece in response.iter_bytes():
                    target.write(piece)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise UnreachableError(
                f"no server answers at {self.url} ({error}); start one with `make run`."
            ) from None
        except httpx.TimeoutException:
            seconds = self._http.timeout.read
            raise UnreachableError(f"{self.url} gave no answer within {seconds:g} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            away = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            reason = str(error) or type(error).__name__
            kind = UnreachableError if away else ServerError
            raise kind(f"the request to {self.url} failed: {reason}.") from None

    def _refusal(self, response: httpx.Response) -> VitrineError:
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
