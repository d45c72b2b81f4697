"""`python -m serving`: starts the server."""

import os
import socket
import sys
from pathlib import Path

import click

from artifacts.commands import run_command


@click.group()
def main() -> None:
    """Serve the models over HTTP."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def run(host: str, port: int) -> None:
    """Serve the models of artifacts/models until interrupted."""
    workers = os.environ.get("VITRINE_WORKERS") or "1"
    if not workers.isdecimal() or int(workers) < 1:
        raise click.UsageError(f"VITRINE_WORKERS is {workers!r}; a positive number is expected.")
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another port, "
            "such as `make run PORT=3001`."
        ) from None
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    address = ["--host", host, "--port", str(port)]
    os.execv(bentoml, [bentoml, "serve", "serving.service:Vitrine", *address])  # noqa: S606


if __name__ == "__main__":
    run_command(main, "python -m serving")
