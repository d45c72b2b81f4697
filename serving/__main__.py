"""`python -m serving`: starts the server, sends it requests, makes keys, moves the gallery."""

import click

from artifacts import Artifact
from artifacts.commands import missing_extras_in_one_line, run_command

with missing_extras_in_one_line(__name__):
    from serving.commands import ask, server
    from serving.commands.feedback import feedback
    from serving.commands.index import index
    from serving.faces.gallery import Gallery
    from serving.faces.migrate import plan, re_embed
    from serving.inference.served_model import ServedModel
    from serving.settings import read_settings


@click.group()
def main() -> None:
    """Serve the models over HTTP, and ask about pictures."""


for command in (server.run, server.key, server.settings):
    main.add_command(command)
for command in (ask.classify, ask.neighbours, ask.verify, ask.enrol, ask.identify, index, feedback):
    main.add_command(command)


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
