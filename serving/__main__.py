"""`python -m serving`: starts the server, sends it requests, makes keys, moves the gallery."""

import errno
import os
import socket
import sys

import click
from rich.console import Console
from rich.table import Table

from artifacts import Artifact
from artifacts.commands import (
    json_option,
    missing_extras_in_one_line,
    print_json,
    run_command,
)

with missing_extras_in_one_line(__name__):
    from serving.commands import ask
    from serving.commands.feedback import feedback
    from serving.commands.index import index
    from serving.faces.gallery import Gallery
    from serving.faces.migrate import plan, re_embed
    from serving.http.access import Access, is_loopback, make_key
    from serving.inference.runtimes import chosen_runtime
    from serving.inference.served_model import ServedModel
    from serving.settings import list_settings, read_settings


@click.group()
def main() -> None:
    """Serve the models over HTTP, and ask about pictures."""


for command in (ask.classify, ask.neighbours, ask.verify, ask.enrol, ask.identify, index, feedback):
    main.add_command(command)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def run(host: str, port: int) -> None:
    """Serve the models of artifacts/models until interrupted."""
    settings = read_settings()
    chosen_runtime()
    if not Access.from_settings(settings).keys and not is_loopback(host):
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


@main.command()
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


@main.command("settings")
@json_option
def settings_command(as_json: bool) -> None:
    """List every setting: its value, where the value comes from, and what it means."""
    rows = list_settings()
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    table = Table("name", "value", "source", "meaning")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@main.command("re-embed")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def re_embed_command(model: str, yes: bool) -> None:
    """Move the gallery of faces to MODEL, by embedding the kept pictures again.

    The gallery answers with the old model until all pictures are embedded. Pictures that were not
    kept are lost.
    """
    served = ServedModel(Artifact.open(model))
    if served.manifest.task != "embedding":
        raise click.UsageError(f"{model} gives classes, not embeddings; name an embedding model.")
    database = Gallery.from_settings(read_settings()).database
    intended = plan(database, served.artifact.hash)
    if not intended.needed:
        click.echo(f"nothing to do: the gallery is empty, or already holds embeddings of {model}.")
        return
    click.echo(
        f"{intended.pictures - intended.lost} of {intended.pictures} pictures were kept, and will "
        f"be embedded again. Pictures LOST because they were not kept: {intended.lost}; people who "
        f"lose all their pictures: {intended.people}."
    )
    if not yes:
        click.confirm("Continue?", abort=True)
    with click.progressbar(length=intended.pictures - intended.lost) as bar:
        lost = re_embed(database, served, bar.update)
    click.echo(f"the gallery now holds embeddings of {model}; pictures lost: {lost}.")


@click.group()
def faces() -> None:
    """Compare, enrol and identify faces, and move the gallery to another model."""


for command in (ask.verify, ask.enrol, ask.identify, re_embed_command):
    faces.add_command(command)


if __name__ == "__main__":
    run_command(main, "python -m serving")
