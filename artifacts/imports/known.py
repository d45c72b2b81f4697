"""Verdicts and sets of classes of imported models, from labelled pictures that the user has."""

from pathlib import Path

import numpy as np

from artifacts.datasets.base import take
from artifacts.datasets.folders import read_whole
from artifacts.errors import DataError
from artifacts.known.adding import Added, Labelled, Sources, check_task, measure
from artifacts.known.fitting import LEAST
from artifacts.known.outliers import ALWAYS, named
from artifacts.manifest import Manifest
from artifacts.runtime import Runtime


def measure_reference(runtime: Runtime, manifest: Manifest, folder: Path) -> Added:
    """Fit and measure on reference pictures; one half gives the space, the other half the rest.

    The outliers are generated.

    Args:
        runtime: of the imported graph.
        manifest: of the model.
        folder: pictures that the model was not trained on, a folder for each of its classes.

    Raises:
        ArtifactError: the model is no classifier whose pictures have one class each.
        DataError: a folder is not named like a class, or there are too few pictures.
    """
    check_task(manifest)
    pictures = read_whole(folder, "", f"{folder.name}")
    strange = sorted({*pictures.classes} - {*manifest.classes})
    if strange:
        raise DataError(
            f"{folder / strange[0]}: {strange[0]!r} is not a class of the model; name the folders "
            f"like its classes: {', '.join(manifest.classes[:5])}, …"
        )
    if len(pictures) < 2 * LEAST:
        raise DataError(
            f"{folder}: {len(pictures)} pictures are too few; give at least {2 * LEAST} that the "
            "model was not trained on."
        )
    places = np.array([manifest.classes.index(name) for name in pictures.classes])
    order = np.random.default_rng(0).permutation(len(pictures))
    halves = (order[: len(order) // 2], order[len(order) // 2 :])
    first, second = (
        Labelled(pictures.name, take(pictures.images, half), places[pictures.labels[half]])
        for half in halves
    )
    declared = [named(each) for each in ALWAYS]
    return measure(runtime, manifest.temperature, Sources(first, second, None, declared))
