"""Recipes with settings changed on the command line: models of their own name."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from artifacts.manifest import NAME_PATTERN
from training.recipe import Profile, Recipe, RecipeError, load_recipe, recipe_names


def with_changes(recipe: str, profile: Profile, changes: Sequence[str], name: str) -> Recipe:
    """A recipe with other settings and another name; never the default of its route.

    Args:
        recipe: that is changed.
        profile: whose settings are laid over it first.
        changes: such as `seed=1` or `augment.cutout=0`; a value is written as in YAML.
        name: of the recipe, and so of its artifact.

    Raises:
        RecipeError: a name that is taken or no name, or a setting that is none.
    """
    if name in recipe_names():
        raise RecipeError(f"{name} is the name of a recipe; choose another.")
    if not re.fullmatch(NAME_PATTERN, name):
        raise RecipeError(f"{name}: up to 64 of a-z, 0-9, '.', '_' and '-' make a name.")
    changed = load_recipe(recipe, profile, changes=dict(map(_setting, changes)))
    command = ["python", "-m", "training", "run", recipe, "--profile", profile]
    command += [word for change in changes for word in ("--set", change)] + ["--name", name]
    return replace(changed, name=name, default=False, command=shlex.join(command))


def _setting(change: str) -> tuple[str, Any]:
    """Name and value of SETTING=VALUE."""
    setting, equals, value = change.partition("=")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        equals = ""
    if not (setting and equals):
        raise RecipeError(f"{change}: SETTING=VALUE is expected, such as seed=1.")
    return setting, parsed
