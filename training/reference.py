"""The reference for drift of an artifact that exists already."""

from collections.abc import Sequence

from artifacts import Artifact, ArtifactError, DataError, Manifest, Runtime
from artifacts.datasets import load, parse
from artifacts.datasets.base import take
from artifacts.reference import REFERENCE_FILE, measure_reference, write_reference
from artifacts.runtime import Picture

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
    from training.recipe import load_recipe  # noqa: PLC0415

    made, trained = manifest.recipe, manifest.dataset
    if made is None or trained is None:
        raise ArtifactError(
            f"{manifest.name} was made by no recipe; give the pictures to compare with: --dataset."
        )
    recipe = load_recipe(made.name, made.profile)
    source, places = hold_out(recipe.data, recipe.seed)
    found = (source.fingerprint, len(places))
    if found != (trained.fingerprint, trained.validation_samples):
        raise DataError(
            f"{recipe.data.name} or the recipe {recipe.name} is not what {manifest.name} was "
            "trained on; restore them, or give pictures by --dataset."
        )
    return take(source.images, places.numpy()), held_out_name(source.name, len(places))


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
