"""Serves the page about runs, to this machine only."""

import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from artifacts import VitrineError
from training.watching.charts import charts
from training.watching.runs import Run, Runs

HOST = "127.0.0.1"
NAMES = frozenset({HOST, "localhost"})
"""Names by which browsers of this machine, or at the end of a tunnel, ask for the page."""
TIMEOUT_SECONDS = 10.0


class PageServer(ThreadingHTTPServer):
    """Answers `/` with the page about the runs below a folder.

    It listens on this machine's loopback interface. A request by another host name is refused, so
    that no page of the web whose name was made to resolve to this machine (DNS rebinding) reads it.

    Args:
        base: the folder; it need not exist yet.
        port: where to listen; 0 for any port that is free.

    Raises:
        VitrineError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, base: Path, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise VitrineError(
                f"port {port} cannot be used ({error.strerror}); name another with --port."
            ) from None
        self.nonce = secrets.token_urlsafe(16)
        self._base, self._runs, self._lock = base.absolute(), Runs(base), Lock()
        environment = Environment(
            loader=PackageLoader("training.watching", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = environment.get_template("page.html.j2")

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}"

    def page(self) -> bytes:
        """Return the page as it is now, as HTML."""
        with self._lock:
            runs = self._runs.look()
        text = self._template.render(
            charts=charts,
            runs=runs,
            folder=self._base,
            nonce=self.nonce,
            title=_title(runs),
            announcement=" ".join(run.announcement + "." for run in runs),
        )
        return text.encode()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: PageServer
    timeout = TIMEOUT_SECONDS  # of a connection on which nothing comes

    def do_GET(self) -> None:
        """Send the page, or say why not."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, f"Ask by one of the names {sorted(NAMES)}")
        elif urlsplit(self.path).path != "/":
            self.send_error(HTTPStatus.NOT_FOUND, "There is only /")
        else:
            self._send(self.server.page())

    def _send(self, content: bytes) -> None:
        nonce = f"'nonce-{self.server.nonce}'"
        self.send_response(HTTPStatus.OK)
        for name, value in {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"default-src 'none'; script-src {nonce}; "
            f"style-src {nonce}; img-src data:; connect-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: the page asks every two seconds."""


def _title(runs: list[Run]) -> str:
    """Say in the tab of a browser how far the first run is."""
    if not runs:
        return "Training runs"
    run = runs[0]
    return f"{len(run.state.history)}/{run.state.epochs} {run.state.name}, {run.kind}"
