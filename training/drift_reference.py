"""Measures the drift reference of an existing artifact again."""

from collections.abc import Sequence
from pathlib import Path

from artifacts import Artifact, ArtifactError, DataError, Manifest, Runtime
from artifacts.datasets import ImageSet, load, parse
from artifacts.datasets.base import take
from artifacts.pictures import Picture
from artifacts.reference import REFERENCE_FILE, measure_reference, write_reference
from training.recipe import RECIPE_FILE, Recipe, load_recipe, load_stored, recipe_names

Images = Sequence[Picture] | Picture


def of_dataset(text: str) -> tuple[Images, str]:
    """Return the pictures of a split `NAME:SPLIT` and a description of them.

    Raises:
        DataError: The data is missing.
    """
    name, split = parse(text)
    chosen = load(name, split)
    return chosen.images, f"{name}:{split}, {len(chosen):,} pictures"


def held_out(manifest: Manifest, folder: Path | None = None) -> tuple[Images, str]:
    """Return the validation pictures of an artifact's recipe and a description of them.

    Args:
        manifest: Manifest of the artifact.
        folder: Folder of the artifact; see `recipe_of`.

    Raises:
        ArtifactError: The artifact was not made by a recipe.
        DataError: The data is missing or is not what the artifact was trained on.
    """
    from training.data import hold_out  # noqa: PLC0415 - imports torch, which data sets do not need

    recipe = recipe_of(manifest, "give the pictures to compare with by --dataset", folder)
    source, places = hold_out(recipe.data, recipe.seed)
    check_training_data(manifest, recipe, source, len(places), ", or give pictures by --dataset")
    return take(source.images, places.numpy()), held_out_name(source.name, len(places))


def recipe_of(manifest: Manifest, instead: str, folder: Path | None = None) -> Recipe:
    """Return the recipe that made an artifact, from the artifact or from the project's recipes.

    Args:
        manifest: Manifest of the artifact.
        instead: End of the error message: what to do, or what is impossible, without a recipe.
        folder: Folder of the artifact, which may hold its recipe.

    Raises:
        ArtifactError: The artifact was not made by a recipe, or its recipe is not at hand.
    """
    if manifest.recipe is None or manifest.dataset is None:
        raise ArtifactError(f"{manifest.name} was not made by a recipe; {instead}.")
    name, profile = manifest.recipe.name, manifest.recipe.profile
    stored = folder / RECIPE_FILE if folder else None
    if stored is not None and stored.exists():
        return load_stored(stored, profile)
    if name not in recipe_names():
        raise ArtifactError(
            f"{manifest.name} was trained by a recipe {name!r} that does not come with the project "
            f"and is not stored as {RECIPE_FILE} in the artifact; {instead}."
        )
    return load_recipe(name, profile)


def check_training_data(
    manifest: Manifest, recipe: Recipe, source: ImageSet, validation: int, instead: str = ""
) -> None:
    """Check that data is what an artifact was trained on.

    Args:
        manifest: Manifest of the artifact.
        recipe: The recipe that made it.
        source: The training split that is available now.
        validation: Number of its pictures that are held out.
        instead: End of the error message: an alternative to restoring the data.

    Raises:
        DataError: The data or the number of validation pictures differs.
    """
    trained = manifest.dataset
    if trained is None or (source.fingerprint, validation) != (
        trained.fingerprint,
        trained.validation_samples,
    ):
        raise DataError(
            f"{recipe.data.name} or the recipe {recipe.name} changed since {manifest.name} was "
            f"trained; restore them{instead}."
        )


def held_out_name(data: str, pictures: int) -> str:
    """Describe the validation pictures of a data set, for the drift reference."""
    return f"{data}, {pictures:,} held out to validate"


def add_reference(artifact: Artifact, images: Images, data: str) -> Artifact:
    """Measure a drift reference on pictures and write the artifact with it.

    The graph and its hash stay the same.

    Args:
        artifact: The artifact.
        images: uint8 H x W x 3, of any sizes.
        data: Description of the pictures, which is stored with the reference.
    """
    manifest, files = artifact.manifest, artifact.contents()
    reference = measure_reference(
        Runtime.open(artifact), images, manifest.temperature, data, manifest.task
    )
    files[REFERENCE_FILE] = write_reference(reference)
    return artifact.rewrite(manifest, files)
