"""The commands that start a server, make keys for it, and list its settings.

This module imports little, so that `vitrine serve` becomes the server at once.
"""

import errno
import os
import socket
import sys

import click

from artifacts.commands import json_option, print_json
from serving.http.access import Access, is_loopback, make_key
from serving.settings import list_settings, read_settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def run(host: str, port: int) -> None:
    """Serve the models of artifacts/models until interrupted."""
    if not Access.from_settings(read_settings()).keys and not is_loopback(host):
        raise click.UsageError(
            f"without API keys the server does not listen on {host}, only on this machine; set "
            "VITRINE_API_KEYS (`vitrine key NAME` makes a key), or use --host 127.0.0.1."
        )
    try:
        family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise click.ClickException(
            f"{host} is no address to listen on ({error.strerror}); use --host 127.0.0.1, or ::1."
        ) from None
    try:
        socket.create_server((address, port), family=family).close()
    except OSError as error:
        what = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        advice = (
            "use an address of this machine, such as --host 127.0.0.1"
            if error.errno == errno.EADDRNOTAVAIL
            else "choose another port, such as `--port 3001` (`make run PORT=3001`)"
        )
        raise click.ClickException(
            f"cannot listen on {what} ({error.strerror}); {advice}."
        ) from None
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Vitrine"]
    os.execv(sys.executable, [*command, "--host", str(address), "--port", str(port)])  # noqa: S606


@click.command()
@click.argument("name")
@click.option(
    "--scopes",
    type=click.Choice(["read", "write", "read+write"]),
    default="read+write",
    show_default=True,
    help="read allows to list, export, and use operations not opened by VITRINE_OPEN; write allows "
    "to enrol, import, remove, and reload models.",
)
def key(name: str, scopes: str) -> None:
    """Make an API key for NAME. It is shown only now; the server stores nothing but its hash."""
    secret, entry = make_key(name, scopes)
    click.echo(f"key, to be given to {name} only:  {secret}")
    click.echo(
        f"entry to add to VITRINE_API_KEYS (separated by spaces) or to the file of keys:  {entry}"
    )


@click.command()
@json_option
def settings(as_json: bool) -> None:
    """List every setting: its value, where the value comes from, and what it means."""
    rows = list_settings()
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    from rich.console import Console  # noqa: PLC0415 - the server starts without them
    from rich.table import Table  # noqa: PLC0415

    table = Table("name", "value", "source", "meaning")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
