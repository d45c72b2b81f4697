"""The neighbours of a picture in a model's atlas, and its place on the atlas's map."""

import numpy as np
import numpy.typing as npt

from artifacts.atlas import Atlas
from serving import schemas
from serving.inference.models import ServedModel
from serving.inspection.per_model import PerModel
from serving.problems import RequestError

stored_atlas = PerModel(lambda model: Atlas.read(model.artifact))
"""The atlas in the artifact of a served model; None if it has no atlas."""


def atlas_of(model: ServedModel) -> Atlas:
    """Return the atlas of a model.

    Raises:
        RequestError: the model has no atlas, or one that cannot be read.
    """
    name = model.name
    try:
        atlas = stored_atlas(model)
    except RequestError:
        atlas = None
    if atlas is None:
        raise RequestError(
            "no-atlas",
            f"{name} has no atlas to compare pictures with; `vitrine analyse atlas --model "
            f"{name} --dataset NAME:SPLIT` makes one.",
        )
    return atlas


def describe_atlas(model: ServedModel) -> schemas.Atlas:
    """Describe the pictures of a model's atlas.

    Raises:
        RequestError: see `atlas_of`.
    """
    atlas = atlas_of(model)
    rows = zip(atlas.labels, atlas.predicted, atlas.places.tolist(), strict=True)
    return schemas.Atlas(
        model=model.stamp,
        data=atlas.data,
        side=atlas.side,
        columns=atlas.columns,
        pictures=tuple(
            schemas.AtlasPicture(label=label, predicted=predicted, x=x, y=y)
            for label, predicted, (x, y) in rows
        ),
    )


def nearest(model: ServedModel, vectors: npt.NDArray[np.float32], top: int) -> schemas.Neighbours:
    """Return the `top` pictures of the atlas nearest to each of M pictures, and their places.

    Args:
        model: a model with an atlas.
        vectors: features of the M pictures, float32 M x D: the output that
            `serving.inference.results.features_output` names.
        top: number of pictures, at least 1; all are returned if there are fewer.

    Raises:
        RequestError: see `atlas_of`.
    """
    atlas = atlas_of(model)
    numbers, apart = atlas.nearest(vectors, top)
    found = zip(atlas.place(vectors).tolist(), numbers.tolist(), apart.tolist(), strict=True)
    return schemas.Neighbours(
        model=model.stamp,
        provider=model.runtime.provider,
        pictures=tuple(
            schemas.Neighbourhood(
                place=schemas.Point(x=x, y=y),
                nearest=tuple(
                    schemas.Neighbour(number=i, label=atlas.labels[i], distance=distance)
                    for i, distance in zip(row, distances, strict=True)
                ),
            )
            for (x, y), row, distances in found
        ),
    )
