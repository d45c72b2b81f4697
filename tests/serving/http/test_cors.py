"""CORS opens no more than the answers to pages: access is checked as before."""

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from artifacts import VitrineError
from serving.http.access import Access
from serving.http.cors import with_cors
from serving.problems import RequestError
from serving.settings import read_settings

ORIGIN = "https://app.example.org"


async def local_only(scope: Scope, receive: Receive, send: Send) -> None:
    """What an operation does that only this machine may use."""
    try:
        response = PlainTextResponse(Access().check(Request(scope), "write"))
    except RequestError as problem:
        response = PlainTextResponse(problem.code, problem.status)
    await response(scope, receive, send)


def client(*origins: str) -> TestClient:
    app = with_cors(local_only, origins)
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1))


@pytest.mark.parametrize("origins", [(ORIGIN,), ("*",)])
def test_an_allowed_origin_is_not_this_machine(origins: tuple[str, ...]) -> None:
    assert client(*origins).post("/").text == "local"
    answer = client(*origins).post("/", headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.text) == (403, "this-machine-only")
    assert answer.headers["access-control-allow-origin"] in {ORIGIN, "*"}


def test_it_is_off_by_default() -> None:
    assert read_settings().cors_origins == ()
    assert with_cors(local_only, ()) is local_only
    assert (
        "access-control-allow-origin" not in client().get("/", headers={"Origin": ORIGIN}).headers
    )


@pytest.mark.parametrize("given", ["*", f"{ORIGIN}, http://localhost:8080"])
def test_origins_are_read(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("VITRINE_CORS_ORIGINS", given)
    assert read_settings().cors_origins == tuple(given.split(", "))


@pytest.mark.parametrize(
    "given",
    [
        "app.example.org",
        f"{ORIGIN}/",
        f"{ORIGIN}/page",
        "null",
        "https://*.example.org",
        "HTTPS://A",
    ],
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("VITRINE_CORS_ORIGINS", given)
    with pytest.raises(VitrineError, match="VITRINE_CORS_ORIGINS lists origins"):
        read_settings()
