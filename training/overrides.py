"""Recipes with settings changed on the command line, which make models with their own names."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import yaml

from artifacts.manifest import NAME_PATTERN
from training.recipe import Profile, Recipe, RecipeError, load_recipe, recipe_names
from training.recipe_paths import Reference


def with_changes(recipe: str, profile: Profile, changes: Sequence[str], name: str) -> Recipe:
    """Return a recipe with changed settings and another name; it is never a route's default.

    Args:
        recipe: Name of the recipe to change, or path of its file.
        profile: Profile whose settings are applied first.
        changes: Changes such as `seed=1` or `augment.cutout=0`, with values in YAML.
        name: Name of the new recipe and of its artifact.

    Raises:
        RecipeError: The name is taken or invalid, or a change is not a valid setting.
    """
    if name in recipe_names():
        raise RecipeError(f"{name} is the name of a recipe; choose another.")
    if not re.fullmatch(NAME_PATTERN, name):
        raise RecipeError(
            f"{name}: this is not a valid name; use up to 64 of a-z, 0-9, '.', '_' and '-'."
        )
    changed = load_recipe(recipe, profile, changes=parse_changes(changes))
    command = ["python", "-m", "training", "run", recipe, "--profile", profile]
    command += [word for change in changes for word in ("--set", change)] + ["--name", name]
    return replace(changed, name=name, default=False, command=shlex.join(command))


def parent_recipe(recipe: Recipe) -> Recipe | None:
    """Return the recipe whose head or network a recipe starts from; None if there is none.

    If `recipe` has other data than that one, the parent is changed to the same data. It then has a
    name of its own, `NAME-head` or `NAME-start`, and no route.

    Raises:
        RecipeError: The recipe names no recipe, or the name of the changed parent is not valid.
    """
    if recipe.parent is None:
        return None
    own = Reference.parse(recipe.file)
    source = str((own and own.head(own.read(), recipe.parent)) or recipe.parent)
    parent = load_recipe(source, recipe.profile)
    changes = [
        f"data.{f.name}={json.dumps(getattr(recipe.data, f.name), ensure_ascii=False)}"
        for f in fields(recipe.data)
        if getattr(recipe.data, f.name) != getattr(parent.data, f.name)
    ]
    if not changes:
        return parent
    part = "head" if recipe.continue_from is None else "start"
    name = f"{recipe.name}-{part}"
    changes += [f"title=The {part} of {recipe.name}", "route=null", "study=null"]
    return with_changes(source, recipe.profile, changes, name)


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Return changes such as `seed=1`, with values in YAML, by the name of the setting.

    Raises:
        RecipeError: A change is not written so.
    """
    return dict(map(_setting, changes))


def _setting(change: str) -> tuple[str, Any]:
    """Parse SETTING=VALUE; returns name and value."""
    setting, equals, value = change.partition("=")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        equals = ""
    if not (setting and equals):
        raise RecipeError(f"{change}: write changes as SETTING=VALUE, such as seed=1.")
    return setting, parsed
