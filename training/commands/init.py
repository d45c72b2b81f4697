"""The command that writes a recipe for one's own pictures."""

from pathlib import Path

import click

from artifacts import VitrineError


@click.command("init")
@click.argument("pictures", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; the name of PICTURES, in this folder, by default.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def init_command(pictures: Path, out: Path | None, force: bool) -> None:
    """Write a recipe for PICTURES, with comments on every setting, to be edited and trained.

    PICTURES is a folder with a folder per class, or a table of pictures and labels.
    """
    from training.network_options import builders
    from training.recipe import load_recipe, recipe_names
    from training.recipe_template import model_name, recipe_text

    name = model_name(pictures.resolve().stem, recipe_names())
    out = out or Path(f"{name}.yaml")
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise click.UsageError(f"{out}: the name of a recipe file ends in .yaml or .yml.")
    if out.exists() and not force:
        raise VitrineError(f"{out} exists; --force overwrites it, --out FILE writes another file.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from None
    text = recipe_text(pictures, out, recipe_names(), list(builders()))
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(out, error) from None
    load_recipe(str(out))
    click.echo(f"{out}: edit it as you like, then: vitrine train run {out}")


def _unwritable(out: Path, error: OSError) -> VitrineError:
    return VitrineError(f"{out} cannot be written ({error.strerror}); choose another.")
