"""The reference for drift of an artifact that exists already."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from artifacts import Artifact, ArtifactError, DataError, Manifest, Runtime
from artifacts.datasets import ImageSet, load, parse
from artifacts.datasets.base import take
from artifacts.reference import REFERENCE_FILE, measure_reference, write_reference
from artifacts.runtime import Picture

if TYPE_CHECKING:
    from training.recipe import Recipe

Images = Sequence[Picture] | Picture


def of_dataset(text: str) -> tuple[Images, str]:
    """The pictures of a split `NAME:SPLIT`, and what to call them.

    Raises:
        DataError: there is no such data.
    """
    name, split = parse(text)
    chosen = load(name, split)
    return chosen.images, f"{name}:{split}, {len(chosen):,} pictures"


def held_out(manifest: Manifest) -> tuple[Images, str]:
    """The pictures that an artifact's recipe held out to validate, and what to call them.

    Raises:
        ArtifactError: it was made by no recipe.
        DataError: the data is missing, or not what it was trained on.
    """
    from training.data import hold_out  # noqa: PLC0415 - torch, which data sets do without

    recipe = recipe_of(manifest, "give the pictures to compare with: --dataset")
    source, places = hold_out(recipe.data, recipe.seed)
    check_same(manifest, recipe, source, len(places), ", or give pictures by --dataset")
    return take(source.images, places.numpy()), held_out_name(source.name, len(places))


def recipe_of(manifest: Manifest, instead: str) -> "Recipe":
    """The recipe that made an artifact.

    Args:
        manifest: of the artifact.
        instead: what to do where there is none.

    Raises:
        ArtifactError: it was made by no recipe.
    """
    from training.recipe import load_recipe  # noqa: PLC0415 - as above

    if manifest.recipe is None or manifest.dataset is None:
        raise ArtifactError(f"{manifest.name} was made by no recipe; {instead}.")
    return load_recipe(manifest.recipe.name, manifest.recipe.profile)


def check_same(
    manifest: Manifest, recipe: "Recipe", source: ImageSet, validation: int, instead: str = ""
) -> None:
    """Hold data to what an artifact was trained on.

    Args:
        manifest: of the artifact.
        recipe: that made it.
        source: the training split of the data at hand.
        validation: pictures of it that are held out.
        instead: what else can be done than to restore it.

    Raises:
        DataError: other data, or another number of validation pictures.
    """
    trained = manifest.dataset
    if trained is None or (source.fingerprint, validation) != (
        trained.fingerprint,
        trained.validation_samples,
    ):
        raise DataError(
            f"{recipe.data.name} or the recipe {recipe.name} is not what {manifest.name} was "
            f"trained on; restore them{instead}."
        )


def held_out_name(data: str, pictures: int) -> str:
    """What to call the validation pictures of a data set."""
    return f"{data}, {pictures:,} held out to validate"


def add_reference(artifact: Artifact, images: Images, data: str) -> Artifact:
    """Write the artifact anew with a reference of pictures that `data` names.

    The graph stays as it is, and so does its hash.
    """
    manifest = artifact.manifest
    reference = measure_reference(Runtime.open(artifact), images, manifest.temperature, data)
    files = artifact.contents()
    files[REFERENCE_FILE] = write_reference(reference)
    return artifact.rewrite(manifest, files)
