"""Verdicts and sets of classes of the models that are trained here."""

from collections.abc import Sequence

from artifacts import Artifact, Runtime
from artifacts.datasets import ImageSet
from artifacts.datasets.base import take
from artifacts.known.adding import Added, Labelled, Sources, add, check_task, measure
from artifacts.known.outliers import ALWAYS, GENERATED_LIMIT, named
from training.data import Splits, hold_out, load_test, trained_on
from training.drift_reference import check_training_data, recipe_of
from training.inputs import with_scenery
from training.recipe import Recipe
from training.settings import Augment

SYNTHETIC_LIMIT = 60
"""Number of outliers of a kind for models of synthetic pictures, which only try out the steps."""


def measure_known(splits: Splits, runtime: Runtime, temperature: float, recipe: Recipe) -> Added:
    """Fit verdicts and sets of a newly trained classifier, with generated outliers.

    Args:
        splits: Training and validation pictures.
        runtime: Runtime of its graph.
        temperature: Divisor of its logits.
        recipe: The recipe, which says how many test pictures are used and whether training
            surrounded pictures with scenery.
    """
    name = splits.source.name
    train, held_out = (
        Labelled(part, split.originals, split.labels.numpy())
        for part, split in (
            (f"{name}:train", splits.train),
            (f"{name}:validation", splits.validation),
        )
    )
    test = _labelled(load_test(name, splits.classes, limit=recipe.data.limit))
    limit = SYNTHETIC_LIMIT if splits.source.synthetic else GENERATED_LIMIT
    declared = [named(each, generated=limit) for each in ALWAYS]
    surrounded = _surrounded(held_out, recipe.augment)
    train = _surrounded(train, recipe.augment) or train
    sources = Sources(train, held_out, test, declared, surrounded=surrounded)
    return measure(runtime, temperature, sources)


def fit_known(
    artifact: Artifact,
    outliers: Sequence[str] = (),
    unseen: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
) -> Artifact:
    """Fit verdicts and sets of an existing artifact again, on the graph that is served here.

    Args:
        artifact: A classifier that a recipe made.
        outliers: Data sets of other things, `NAME:SPLIT` or `generated:KIND`, to choose and fit
            with; by default all kinds of generated pictures.
        unseen: Data sets of yet other things, to measure on.
        elsewhere: Data sets of known kinds, to measure on.

    Raises:
        ArtifactError: The model is no classifier, or no recipe made it.
        DataError: Data is missing, or is not what the artifact was trained on.
    """
    check_task(artifact.manifest)
    declared, others, known = (
        [named(each, seed) for each in names]
        for seed, names in enumerate((outliers or ALWAYS, unseen, elsewhere))
    )
    recipe = recipe_of(
        artifact.manifest, "`vitrine import --reference` fits imported models", artifact.path
    )
    source, places = hold_out(recipe.data, recipe.seed)
    check_training_data(artifact.manifest, recipe, source, len(places))
    rest = trained_on(recipe.data, len(source), places)
    train, validation = (
        Labelled(name, take(source.images, chosen.numpy()), source.labels[chosen.numpy()])
        for name, chosen in (
            (f"{source.name}:train", rest),
            (f"{source.name}:validation", places),
        )
    )
    test = _labelled(load_test(recipe.data.name, source.classes, limit=recipe.data.limit))
    surrounded = _surrounded(validation, recipe.augment)
    train = _surrounded(train, recipe.augment) or train
    return add(artifact, Sources(train, validation, test, declared, others, known, surrounded))


def _surrounded(pictures: Labelled, augment: Augment) -> Labelled | None:
    """Surround a share of the pictures with scenery, as training did; None if it did not.

    A model shall not refuse the pictures that it was taught to answer.
    """
    images = with_scenery(pictures.images, augment)
    if images is None:
        return None
    return Labelled(f"{pictures.name}, with scenery", images, pictures.labels)


def _labelled(data: ImageSet) -> Labelled:
    return Labelled(f"{data.name}:{data.split}", data.images, data.labels)
