"""Recipes: YAML files that are validated against `Recipe` and its groups of settings.

A file defines one recipe of the same name, or one recipe `FILE-VARIANT` for each of its variants.
`variants` overrides settings of the file by variant name. `grid` lists values of settings, and
every combination of them becomes a variant. The settings of a profile are applied last.

The project's own recipes are known by their names, and recipes elsewhere by the paths of their
files; see `training.recipe_paths.Reference`.
"""

import functools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from artifacts.manifest import NAME_PATTERN
from training.network_options import find_mistake
from training.recipe_errors import NOT_IN_FILES, explain
from training.recipe_file import Key, RecipeError, RecipeFile, nearest, nested, overlay
from training.recipe_paths import Reference, resolve
from training.recipe_settings import PROFILES, Profile, Recipe

__all__ = [
    "PROFILES",
    "RECIPE_FILE",
    "Profile",
    "Recipe",
    "RecipeError",
    "load_recipe",
    "load_recipes",
    "load_recipes_of",
    "load_stored",
    "recipe_names",
]

RECIPES = Path(__file__).parent / "recipes"
RECIPE_FILE = "recipe.yaml"
"""File in an artifact with the settings that it was trained with; see `Recipe.as_text`."""
_ADAPTER = TypeAdapter(Recipe)


@dataclass(frozen=True)
class _Draft:
    """A recipe of a file before a profile is applied."""

    file: RecipeFile
    variant: str | None
    name: str

    def build(self, profile: Profile, changes: Mapping[str, Any] | None = None) -> Recipe:
        """Apply the settings of a profile and then `changes`, and validate the result.

        Raises:
            RecipeError: A setting is invalid; the message names the first.
        """
        settings = self.file.of_variant(self.variant)
        profiles = settings.pop("profiles", None) or {}
        unknown = [each for each in profiles if each not in PROFILES]
        if unknown:
            allowed = ", ".join(PROFILES)
            message = f"this profile is unknown; use {allowed}."
            raise self.error(("profiles", unknown[0]), message, profile)
        settings = overlay(settings, profiles.get(profile) or {})
        for key in NOT_IN_FILES:
            if key in settings:
                guess = nearest(key, ["profiles"])
                raise self.error((key,), f"there is no such setting; {guess}".strip(), profile)
        if settings.get("name") != self.file.settings.get("name"):
            message = "a variant or profile has no name of its own; set it at the top of the file."
            raise self.error(("name",), message, profile)
        settings = overlay(settings, nested(changes or {}))
        try:
            recipe = _ADAPTER.validate_python({**settings, "name": self.name, "profile": profile})
        except ValidationError as error:
            path, message = explain(error, Recipe)
            raise self.error(path, message, profile, changes) from None
        mistake = find_mistake(recipe.network)
        if mistake is not None:
            raise self.error(("network", *mistake[0]), mistake[1], profile, changes)
        return recipe

    def error(
        self,
        path: tuple[Key, ...],
        message: str,
        profile: Profile,
        changes: Mapping[str, Any] | None = None,
    ) -> RecipeError:
        """Return an error that names the line of a setting, or none if it is one of `changes`."""
        dotted = ".".join(map(str, path))
        if any(f"{dotted}.".startswith(f"{change}.") for change in changes or {}):
            return RecipeError(f"{self.name}: {dotted}: {message}")
        layers: list[tuple[str, ...]] = [("profiles", profile), ()]
        if self.variant:
            within = ("variants", self.variant)
            layers = [(*within, "profiles", profile), ("profiles", profile), within, ()]
        return self.file.error(path, message, layers)


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Return the names of all recipes, in the order of their files and variants."""
    return list(_drafts(folder))


def load_recipes(profile: Profile = "full", folder: Path = RECIPES) -> list[Recipe]:
    """Read every recipe, in the order of their files and variants.

    Raises:
        RecipeError: A setting is invalid; the message names the first.
    """
    return [draft.build(profile) for draft in _drafts(folder).values()]


def load_recipe(
    name: str,
    profile: Profile = "full",
    folder: Path = RECIPES,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe and apply the settings of a profile.

    Args:
        name: Name of the recipe, or path of its file; see `Reference`.
        profile: Profile whose settings override those of the recipe.
        folder: Folder of the recipe files, for recipes known by their names.
        changes: Settings by dotted name, such as optimizer.lr, that override both.

    Raises:
        RecipeError: The name is unknown, or a setting is invalid; the message names the first.
    """
    reference = Reference.parse(name)
    if reference is not None:
        return _load_file(reference, name, profile, changes)
    known = _drafts(folder)
    if name not in known:
        hint = nearest(name, known, 0.3)
        raise RecipeError(f"no recipe called {name!r}; {hint}`vitrine train list` shows all names.")
    return known[name].build(profile, changes)


def load_recipes_of(file: str, profile: Profile = "full") -> list[Recipe]:
    """Read all recipes of a file, or the one of the variant that `FILE.yaml:VARIANT` names.

    Raises:
        RecipeError: There is no such file, or a setting is invalid.
    """
    reference = Reference.parse(file)
    if reference is None:
        raise RecipeError(f"{file}: give the path of a recipe file, such as ./{file}.yaml.")
    variants = [reference.variant] if reference.variant else list(reference.read().variants)
    every = [replace(reference, variant=variant) for variant in variants] or [reference]
    return [_load_file(each, str(each), profile) for each in every]


def load_stored(path: Path, profile: Profile) -> Recipe:
    """Read the recipe that is stored in an artifact, with its profile applied already.

    Raises:
        RecipeError: The file cannot be read or is malformed.
    """
    file = Reference(path).read()
    return _Draft(file, None, str(file.settings.get("name", path.stem))).build(profile)


def _load_file(
    reference: Reference, typed: str, profile: Profile, changes: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe from a file; `typed` is how the user named it."""
    file = reference.read()
    variant = reference.checked_variant(file)
    name = str(file.settings.get("name", reference.path.stem)) + (f"-{variant}" if variant else "")
    if not re.fullmatch(NAME_PATTERN, name) or name in recipe_names():
        why = "is a recipe of the project" if name in recipe_names() else "is not a valid name"
        raise file.error(
            ("name",),
            f"{name!r} {why}; rename the file or set `name` to one of your own, of up to 64 of "
            "a-z, 0-9, '.', '_' and '-'.",
        )
    draft = _Draft(file, variant, name)
    recipe = draft.build(profile, changes)
    _check_head(recipe, draft, reference, changes)
    command = ["python", "-m", "training", "run", typed, "--profile", profile]
    folder = reference.path.absolute().parent
    return replace(
        resolve(recipe, folder),
        command=shlex.join(command),
        file=str(replace(reference, path=reference.path.absolute())),
    )


def _check_head(
    recipe: Recipe, draft: _Draft, reference: Reference, changes: Mapping[str, Any] | None
) -> None:
    """Raise RecipeError if `head_from` or `continue_from` names no other recipe."""
    if recipe.parent is None:
        return
    source = reference.head(draft.file, recipe.parent)
    if source == reference:
        message = "a recipe cannot start from its own head; name another one, or remove this."
    elif source is None and recipe.parent not in recipe_names():
        known = [*draft.file.variants, *recipe_names()]
        message = (
            f"{recipe.parent!r} is neither a variant of this file nor a recipe of the project; "
            f"{nearest(recipe.parent, known)}`vitrine train list` shows those of the project."
        )
    else:
        return
    setting = "head_from" if recipe.continue_from is None else "continue_from"
    raise draft.error((setting,), message, recipe.profile, changes)


def _drafts(folder: Path) -> Mapping[str, _Draft]:
    """Return every recipe of a folder by its name, before profiles are applied."""
    paths = sorted(folder.glob("*.yaml"))
    return _drafts_of(tuple((path.stem, path.read_text(encoding="utf-8")) for path in paths))


@functools.lru_cache(maxsize=1)  # parsing takes long, and commands load one recipe after another
def _drafts_of(files: tuple[tuple[str, str], ...]) -> Mapping[str, _Draft]:
    """Return the recipes in files, each given by its stem and its text."""
    drafts: dict[str, _Draft] = {}
    for stem, text in files:
        file = RecipeFile.parse(text, f"{stem}.yaml")
        for variant in file.variants or [None]:
            name = f"{stem}-{variant}" if variant else stem
            drafts[name] = _Draft(file, variant, name)
    return drafts
