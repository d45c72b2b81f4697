"""The patches of uvicorn and BentoML still find what they were written against.

Each of these fails when an upstream release changes it; then the patch must be looked at again.
"""

import inspect
from typing import Any

import bentoml
from bentoml._internal.utils.circus import Arbiter
from starlette.responses import PlainTextResponse
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

from serving.http.patches import (
    BoundedProtocol,
    patch_arbiter,
    patch_bentoml,
    patch_uvicorn,
)


def names_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_uvicorn_takes_the_protocol() -> None:
    patch_uvicorn(60)
    config = Config(PlainTextResponse("hello"))
    config.load()
    assert config.http_protocol_class is BoundedProtocol


def test_what_the_bounded_protocol_overrides_exists() -> None:
    for name in ("connection_made", "on_message_begin", "on_headers_complete", "data_received"):
        assert names_of(getattr(HttpToolsProtocol, name)) == names_of(
            getattr(BoundedProtocol, name)
        )
    for name in ("on_url", "on_header", "shutdown", "send_400_response"):
        assert names_of(getattr(HttpToolsProtocol, name)) == names_of(
            getattr(BoundedProtocol, name)
        )
    assert names_of(HttpToolsProtocol.send_400_response) == ["self", "msg"]
    made = names_of(HttpToolsProtocol)
    assert made == ["config", "server_state", "app_state", "_loop"]


def test_the_server_can_still_be_stopped_in_another_way() -> None:
    before = Server.shutdown
    try:
        patch_uvicorn(60)
        assert Server.shutdown is not before
        assert names_of(before) == names_of(Server.shutdown) == ["self", "sockets"]
        assert "self.servers" in inspect.getsource(Server)
    finally:
        Server.shutdown = before  # type: ignore[method-assign]


def test_the_arbiter_still_has_what_is_changed() -> None:
    before = Arbiter.__init__, Arbiter.manage_watchers, Arbiter.stop
    try:
        (of_circus,) = Arbiter.__bases__
        assert "check_delay" in names_of(of_circus.__init__)
        patch_arbiter()
        now = Arbiter.__init__, Arbiter.manage_watchers, Arbiter.stop
        assert not set(before) & set(now)
        source = inspect.getsource(of_circus)
        for name in ("_exclusive_running_command", "_stopping", "self.sockets.close_all()"):
            assert name in source
    finally:
        Arbiter.__init__, Arbiter.manage_watchers, Arbiter.stop = before


def test_bentoml_still_has_one_way_in() -> None:
    original = bentoml.Service.to_asgi
    assert "is_main" in names_of(original)
    try:
        patch_bentoml(lambda app: app)
        assert bentoml.Service.to_asgi is not original
    finally:
        bentoml.Service.to_asgi = original
