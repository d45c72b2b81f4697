"""Measures an artifact again after its recipe prepares pictures of other sizes differently."""

from collections.abc import Iterable
from dataclasses import replace

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.manifest import MANIFEST_VERSION
from artifacts.reference import REFERENCE_FILE
from training.augment import parse_size
from training.data import Splits, load_splits
from training.drift_reference import check_training_data
from training.publish import measure, reference_of
from training.recipe import RECIPE_FILE, Recipe, load_recipe, recipe_names

CHANGEABLE = ("detail", "max_aspect", "interpolation")
"""Settings that may change without training again."""


def remeasure_artifact(artifact: Artifact) -> Artifact:
    """Give an artifact the input policy of its recipe, and measure its metrics again.

    The graph stays as it is. Verdicts and sets of classes have to be fitted again.

    Raises:
        ArtifactError: No recipe of the project made it, or the recipe has changed in what the
            weights depend on: anything but `CHANGEABLE`, or these in a way that changes how
            training pictures are shown.
        DataError: The data is missing or is not what the artifact was trained on.
    """
    manifest = artifact.manifest
    if manifest.recipe is None or manifest.recipe.name not in recipe_names():
        raise ArtifactError(
            f"{artifact.name} was not made by a recipe of the project, which could have changed "
            "since; train it again with the settings you want."
        )
    recipe = load_recipe(manifest.recipe.name, manifest.recipe.profile)
    before = replace(recipe, **{name: getattr(manifest.input, name) for name in CHANGEABLE})
    if manifest.recipe.hash != before.hash:
        raise ArtifactError(
            f"{artifact.name}: its recipe has changed in more than detail, max_aspect and "
            f"interpolation; train it again: vitrine train run {recipe.name} "
            f"--profile {recipe.profile}"
        )
    splits = load_splits(recipe.data, recipe.seed)
    check_training_data(manifest, recipe, splits.source, len(splits.validation))
    if any(_shown(recipe, *size) != _shown(before, *size) for size in _sizes(recipe, splits)):
        raise ArtifactError(
            f"{artifact.name}: its training pictures would be shown differently; train it again: "
            f"vitrine train run {recipe.name} --profile {recipe.profile}"
        )
    files = artifact.contents()
    runtime = Runtime(files[MODEL_FILE], recipe.policy)
    changed = manifest.model_copy(
        update={
            "version": MANIFEST_VERSION,
            "input": recipe.policy,
            "recipe": manifest.recipe.model_copy(update={"hash": recipe.hash}),
            **measure(recipe, splits, runtime),
        }
    )
    reference = reference_of(changed, splits, runtime)
    made = {REFERENCE_FILE: reference, RECIPE_FILE: recipe.as_text().encode()}
    return artifact.rewrite(changed, files | made)


def _sizes(recipe: Recipe, splits: Splits) -> Iterable[tuple[int, int]]:
    """Return the sizes (width, height) that training pictures have before they are rescaled."""
    height, width = splits.train.images.shape[1:3]
    return (width, height), *map(parse_size, recipe.augment.sizes)


def _shown(recipe: Recipe, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int], str]:
    """Return the sizes through which a training picture goes, and the filter of its rescaling."""
    policy = recipe.policy
    filtered = "bicubic" if recipe.augment.framed else policy.interpolation
    return policy.shrunk(width, height), policy.target(width, height), filtered
