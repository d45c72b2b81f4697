"""What training several recipes takes: what is measured and what is unknown, and in which order."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np

from artifacts import Artifact, ArtifactError, DataError, Manifest
from artifacts.datasets import load
from training.data import hold_out, trained_on
from training.overrides import parent_recipe
from training.recipe import RECIPE_FILE, Recipe, RecipeError, load_stored
from training.recipe_settings import AUTO
from training.schedule.memory import training_memory
from training.settings import Data
from training.status import Status, status

SAME_SPEED = (
    "network",
    "data",
    "native_side",
    "fixed_size",
    "batch_size",
    "precision",
    "augment",
    "loss",
    "cache",
    "svm",
)
"""Settings on which the time of an epoch depends, besides the name of the optimizer."""


@dataclass(frozen=True)
class Contents:
    """The training pictures of a recipe."""

    pictures: int
    classes: int
    side: tuple[int, int] | None
    """(height, width), px; None if a recipe must say to which size they are resized."""


@dataclass(frozen=True)
class Item:
    """A recipe of a plan."""

    recipe: Recipe
    state: Status
    contents: Contents | None
    """None if the data is missing."""
    epoch_seconds: float | None
    """Time of one epoch with validation, seconds; None if unknown."""
    basis: Literal["measured", "trial", "unknown"]
    """measured: by the training of the artifact that exists, on this hardware. trial: now."""
    memory: int | None
    """Estimated memory of the GPU, bytes; None if unknown, so that nothing else runs beside it."""
    after: tuple[str, ...]
    """Names of recipes of the plan from which it starts, so that they are trained before."""

    @property
    def seconds(self) -> float | None:
        """Time of all epochs, without exporting and measuring; 0 if it is up to date."""
        if self.state.current:
            return 0.0
        return None if self.epoch_seconds is None else self.epoch_seconds * self.recipe.epochs


def make_plan(recipes: Sequence[Recipe], hardware: str) -> list[Item]:
    """Look up what is known about recipes, in the order in which they are trained.

    Args:
        recipes: The recipes.
        hardware: What this machine is called in manifests.
    """
    names = {recipe.name for recipe in recipes}
    return [_item(recipe, names, hardware) for recipe in _ordered(recipes)]


def groups(items: Iterable[Item], jobs: int, memory: int | None) -> list[list[Item]]:
    """Divide what is to be trained into groups that start together.

    Args:
        items: In the order of the plan.
        jobs: Maximum number of recipes that train at once.
        memory: Memory of the GPU, bytes; None on a CPU.
    """
    found: list[list[Item]] = []
    for item in items:
        if item.state.current:
            continue
        last = found[-1] if found else []
        if last and fits_beside(item, last, jobs, memory) and not names_of(last) & {*item.after}:
            last.append(item)
        else:
            found.append([item])
    return found


def fits_beside(item: Item, others: Sequence[Item], jobs: int, memory: int | None) -> bool:
    """Return whether a recipe may train beside others; whether it must wait for one is left out."""
    if not others:
        return True
    if len(others) >= jobs:
        return False
    if memory is None:
        return True
    needs = [each.memory for each in (*others, item)]
    return None not in needs and sum(need or 0 for need in needs) <= memory


def names_of(items: Iterable[Item]) -> set[str]:
    """Return the names of the recipes."""
    return {item.recipe.name for item in items}


def _item(recipe: Recipe, names: set[str], hardware: str) -> Item:
    ancestor = _ancestor(recipe, names - {recipe.name})
    contents = _contents(recipe.data, recipe.seed)
    seconds = _measured(recipe, hardware)
    return Item(
        recipe=recipe,
        state=status(recipe),
        contents=contents,
        epoch_seconds=seconds,
        basis="unknown" if seconds is None else "measured",
        memory=_memory(recipe, contents),
        after=() if ancestor is None else (ancestor.name,),
    )


def _ordered(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return the recipes in their order, but each after those that it starts from."""
    left = {recipe.name: recipe for recipe in recipes}
    found: list[Recipe] = []

    def add(recipe: Recipe) -> None:
        if left.pop(recipe.name, None) is None:
            return
        ancestor = _ancestor(recipe, left)
        if ancestor is not None:
            add(ancestor)
        found.append(recipe)

    for recipe in recipes:
        add(recipe)
    return found


def _ancestor(recipe: Recipe, names: Container[str]) -> Recipe | None:
    """Return the nearest of the named recipes from which a recipe starts, through others or not."""
    parent = parent_recipe(recipe)
    while parent is not None and parent.name not in names:
        parent = parent_recipe(parent)
    return parent


@cache
def _contents(data: Data, seed: int) -> Contents | None:
    try:
        load(data.name, "train")  # nothing is downloaded to make a plan
        source, held_out = hold_out(data, seed)
    except DataError:
        return None
    side = data.size
    if side is None and isinstance(source.images, np.ndarray):
        height, width = source.images.shape[1:3]
        side = (height, width)
    pictures = len(trained_on(data, len(source), held_out))
    return Contents(pictures, len(source.classes), side)


def _memory(recipe: Recipe, contents: Contents | None) -> int | None:
    if contents is None or contents.side is None or recipe.batch_size == AUTO:
        return None
    try:
        return training_memory(recipe, contents.classes, contents.pictures, contents.side)
    except RuntimeError:
        return None


def _measured(recipe: Recipe, hardware: str) -> float | None:
    """Return the time of an epoch, in seconds, that the artifact's training took here."""
    try:
        artifact = Artifact.open(recipe.artifact_name)
        manifest = artifact.manifest
        if not _ran_on(manifest, hardware):
            return None
        stored = load_stored(artifact.path / RECIPE_FILE, recipe.profile)
    except (ArtifactError, RecipeError):
        return None
    run = manifest.run
    if run is None or not run.epochs or not _same_speed(stored, recipe):
        return None
    return run.seconds / run.epochs


def _ran_on(manifest: Manifest, hardware: str) -> bool:
    return manifest.run is not None and manifest.run.hardware == hardware


def _same_speed(stored: Recipe, recipe: Recipe) -> bool:
    """Return whether an epoch of two recipes takes the same time."""
    here = replace(recipe, file="")
    if stored.optimizer.name != here.optimizer.name:
        return False
    return all(getattr(stored, name) == getattr(here, name) for name in SAME_SPEED)
