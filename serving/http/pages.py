"""The pages for browsers: the playground at `/`, and the documentation of the API at `/docs`."""

import os
from pathlib import Path

import bentoml
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

import serving

PLAYGROUND = Path(serving.__file__).parent / "playground"
SAMPLE = Path(serving.__file__).parent / "sample.jpg"
SAMPLE_CLASS = "frog"
"""What the sample shows."""
# BentoML ships these files for its own page; with them, `/docs` works without internet access.
SWAGGER_ASSETS = Path(bentoml.__file__).parent / "_internal/server/static_content"

HEADERS = {
    # Nothing is loaded from other hosts, nothing is inline, and no other page may frame this one.
    # Pictures that the user chooses are shown through blob: addresses.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # the browser asks each time, and gets 304 if nothing changed
}


class _Assets(StaticFiles):
    """The playground's files, served with `HEADERS`."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def add_pages(app: FastAPI) -> None:
    """Add the pages and their files to the application."""

    @app.get("/", include_in_schema=False)
    async def playground() -> FileResponse:
        return FileResponse(PLAYGROUND / "index.html", headers=HEADERS)

    @app.get("/playground/sample.jpg", include_in_schema=False)
    async def sample() -> FileResponse:
        return FileResponse(SAMPLE, headers=HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Vitrine",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon-light-32x32.png",
        )

    app.mount("/playground", _Assets(directory=PLAYGROUND))
    app.mount("/docs/assets", StaticFiles(directory=SWAGGER_ASSETS))
