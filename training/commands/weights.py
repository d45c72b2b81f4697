"""The command that lists the pre-trained weights that recipes need."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from artifacts.commands import json_option, print_json
from training.commands.options import profile_option
from training.recipe import Profile, load_recipe, load_recipes, load_recipes_of
from training.recipe_paths import Reference

if TYPE_CHECKING:
    from training.own_weights import Needed


@click.command("weights")
@click.argument("recipes", metavar="[RECIPE]...", nargs=-1)
@profile_option
@json_option
def weights_command(recipes: tuple[str, ...], profile: Profile, as_json: bool) -> None:
    """List the pre-trained weights that recipes need, and whether they are on this machine.

    RECIPE, a name or the path of a recipe file, limits this to some recipes. Nothing is downloaded,
    and no network connection is needed.
    """
    chosen = [
        recipe
        for name in recipes
        for recipe in (
            load_recipes_of(name, profile)
            if Reference.parse(name)
            else [load_recipe(name, profile)]
        )
    ]
    from training.own_weights import needed_weights

    needed = needed_weights(chosen or load_recipes(profile))
    if as_json:
        print_json([asdict(each) for each in needed])
    else:
        click.echo("\n\n".join(map(_text, needed)) or "These recipes need no weights.")


def _text(needed: "Needed") -> str:
    """Return a paragraph on the weights of one network."""
    size = f"{needed.parameters:,} parameters"
    if needed.bytes is not None:
        size += f", {needed.bytes:,} bytes"
    lines = [
        f"{needed.network} ({needed.library})",
        f"  recipes  {', '.join(needed.recipes)}",
        f"  source   {needed.source or f'{needed.library} publishes none'}",
        f"  licence  {needed.licence or 'not stated'}",
        f"  sha256   {needed.sha256 or 'unknown'}",
        f"  size     {size}",
        f"  found    {f'{needed.found}: {needed.path}' if needed.found else 'no'}",
    ]
    if needed.weights == "imagenet" and not needed.found:
        lines += [
            f"  put it   {needed.place}, or: vitrine train run {needed.recipes[0]} --weights FILE",
            f"  accepts  {needed.accepted}",
        ]
    return "\n".join(lines)
