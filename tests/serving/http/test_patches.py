"""The patches of uvicorn and BentoML still find what they were written against.

Each of these fails when an upstream release changes it; then the patch must be looked at again.
"""

import inspect
from typing import Any

import bentoml
from starlette.responses import PlainTextResponse
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.patches import (
    BoundedProtocol,
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
    assert names_of(HttpToolsProtocol.send_400_response) == ["self", "msg"]


def test_bentoml_still_has_one_way_in() -> None:
    original = bentoml.Service.to_asgi
    assert "is_main" in names_of(original)
    try:
        patch_bentoml(lambda app: app)
        assert bentoml.Service.to_asgi is not original
    finally:
        bentoml.Service.to_asgi = original
