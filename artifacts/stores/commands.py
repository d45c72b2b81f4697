"""`vitrine models pull` and `vitrine models push`."""

import click

from artifacts.artifact import Artifact
from artifacts.distribution import artifacts_root
from artifacts.stores.location import Location, StoreError, is_url
from artifacts.stores.pull import pull
from artifacts.stores.push import push


def _location(url: str) -> Location:
    if not is_url(url):
        raise StoreError(f"{url!r} is no URL; write s3://BUCKET/FOLDER, hf://USER/NAME, file://…")
    return Location.of(url)


@click.command("pull")
@click.argument("url")
@click.argument("names", nargs=-1)
def pull_command(url: str, names: tuple[str, ...]) -> None:
    """Bring artifacts from URL into the folder of the artifacts: NAMES, or all that are there.

    URL is a folder of artifacts, or the folder of one, as fsspec names it: s3://BUCKET/FOLDER,
    gs://…, hf://USER/NAME, https://…, file://…. Every file is verified by the hash in its manifest,
    and files that were pulled before are not transferred again.
    """
    for each in pull(_location(url), names, artifacts_root()):
        click.echo(f"{each.artifact.name}: {_transferred(each.transferred)}")


@click.command("push")
@click.argument("names", nargs=-1, required=True)
@click.argument("url")
@click.option("--license", "licence", help="For the Hugging Face Hub, such as mit.")
def push_command(names: tuple[str, ...], url: str, licence: str | None) -> None:
    """Copy artifacts NAMES to URL, each into a folder of its name, with its manifest last.

    If the last part of URL is the artifact's name, URL is its folder: `vitrine models push
    my-birds hf://USER/my-birds`. README.md is added, the card with what the Hugging Face Hub reads.
    """
    store = _location(url)
    for name in names:
        target, written = push(Artifact.open(name), store, licence)
        click.echo(f"{name}: {written:,} bytes written to {target.shown}")


def _transferred(size: int) -> str:
    return f"{size:,} bytes transferred" if size else "nothing transferred, all files were here"
