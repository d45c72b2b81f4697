"""The command that downloads data sets."""

import click

from artifacts.datasets.registry import load


@click.command("download")
@click.argument("names", nargs=-1, type=click.Choice(["cifar10", "mnist"]))
def download_command(names: tuple[str, ...]) -> None:
    """Download data sets whose terms allow it (all of them by default)."""
    from training.download import BY_HAND, FETCHABLE, download

    for name in names or FETCHABLE:
        download(name)
        click.echo(f"{name}: {len(load(name, 'train')):,} training pictures")
    click.echo(BY_HAND)
