"""Lets pages of chosen origins read answers (CORS, the Fetch standard)."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "POST", "PUT", "DELETE")
EXPOSED = (
    "Inference-Header-Content-Length",
    "Retry-After",
    "Vitrine-Model",
    "Vitrine-Model-Hash",
    "Vitrine-Model-Synthetic",
    "Vitrine-Provider",
    "X-Request-Id",
)
"""Headers of answers that scripts may read, besides those that they always may."""
PREFLIGHT_SECONDS = 600
"""How long browsers may remember what they were told before a request."""


def with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Return the application with the headers of CORS, or unchanged if no origin is allowed.

    Browsers ask before they send a request with a key, in a request that has no key itself
    (preflight). It is answered here, before access is checked. That a page may read answers does
    not mean that it has access: without keys, what is open to this machine only stays closed to
    pages of other origins. Cookies are not used, so credentials are not allowed.

    Args:
        app: the application.
        origins: such as `https://app.example.org`, or `*` for all.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=["*"],
        expose_headers=EXPOSED,
        max_age=PREFLIGHT_SECONDS,
    )
