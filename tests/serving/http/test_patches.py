"""The patches of uvicorn and BentoML still find what they were written against.

Each of these fails when an upstream release changes it; then the patch must be looked at again.
"""

import asyncio
import inspect
from typing import Any

import bentoml
from starlette.responses import PlainTextResponse
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.patches import (
    BoundedProtocol,
    JoinedWrites,
    WholeAnswer,
    patch_bentoml,
    patch_uvicorn,
)

SEND = WholeAnswer.__mro__[1].send
"""uvicorn's own, whatever its module names now."""


def names_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_uvicorn_takes_the_protocol_and_the_answer() -> None:
    patch_uvicorn(60)
    config = Config(PlainTextResponse("hello"))
    config.load()
    assert config.http_protocol_class is BoundedProtocol
    assert "RequestResponseCycle(" in inspect.getsource(HttpToolsProtocol.on_headers_complete)
    assert httptools_impl.RequestResponseCycle is WholeAnswer


def test_what_the_bounded_protocol_overrides_exists() -> None:
    for name in ("connection_made", "on_message_begin", "on_headers_complete", "data_received"):
        assert names_of(getattr(HttpToolsProtocol, name)) == names_of(
            getattr(BoundedProtocol, name)
        )
    assert names_of(HttpToolsProtocol.send_400_response) == ["self", "msg"]


def test_uvicorn_writes_headers_before_the_body() -> None:
    """As long as this holds, joining the two writes is worth something."""
    assert names_of(SEND) == ["self", "message"]
    source = inspect.getsource(SEND)
    assert source.count("self.transport.write(") >= 2


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def test_joined_writes_are_one_write_and_then_a_close() -> None:
    transport = Transport()
    joined = JoinedWrites(transport)
    joined.write(b"head ")
    joined.write(b"body")
    joined.close()
    assert (transport.writes, transport.closed, joined.is_closing()) == ([], False, True)
    joined.flush()
    assert (transport.writes, transport.closed) == ([b"head body"], True)


def test_bentoml_still_has_one_way_in() -> None:
    original = bentoml.Service.to_asgi
    assert "is_main" in names_of(original)
    try:
        patch_bentoml(lambda app: app)
        assert bentoml.Service.to_asgi is not original
    finally:
        bentoml.Service.to_asgi = original
