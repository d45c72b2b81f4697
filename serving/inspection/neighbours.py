"""The neighbours of a picture in an atlas or an index of a model, and its place on the map."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from artifacts.atlas import Atlas
from serving import schemas
from serving.inference.served_model import ServedModel
from serving.inspection.indexes import Indexes
from serving.inspection.per_model import PerModel
from serving.problems import RequestError

if TYPE_CHECKING:
    from serving.indexes.stored import StoredIndex

MAX_TOP = 1000
"""Maximum number of neighbours in an index; a search for more takes much longer."""

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
            f"{name} --dataset NAME:SPLIT` makes one, and `vitrine index FOLDER --model {name}` "
            "an index of your own pictures.",
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


def searched(model: ServedModel, indexes: Indexes, name: str | None) -> "StoredIndex | Atlas":
    """Return what a request for neighbours is answered from.

    Args:
        model: the model that is asked.
        indexes: all indexes.
        name: of an index. Without it, it is the atlas, or the only index of a model without atlas.

    Raises:
        RequestError: there is no such index, or it is of another version of the model; or no index
            is named, and the model has no atlas and not exactly one index.
    """
    if name is not None:
        return indexes.get(model, name)
    try:
        return atlas_of(model)
    except RequestError:
        names = indexes.names(model)
        if not names:
            raise
        if len(names) > 1:
            raise RequestError(
                "no-index",
                f"{model.name} has several indexes; choose one with ?index=: {', '.join(names)}.",
            ) from None
        return indexes.get(model, names[0])


def nearest(
    model: ServedModel,
    where: "StoredIndex | Atlas",
    vectors: npt.NDArray[np.float32],
    top: int,
) -> schemas.Neighbours:
    """Return the `top` pictures nearest to each of M pictures, and in an atlas also their places.

    Args:
        model: the model that gave the vectors.
        where: what `searched` returns for the model.
        vectors: features of the M pictures, float32 M x D: the output that
            `serving.inference.results.features_output` names.
        top: number of pictures, at least 1; all are returned if there are fewer.

    Raises:
        RequestError: more than `MAX_TOP` pictures of an index are wanted.
    """
    if isinstance(where, Atlas):
        found = _in_atlas(where, vectors, top)
    else:
        found = _in_index(where, vectors, top)
    return schemas.Neighbours(
        model=model.stamp,
        provider=model.runtime.provider,
        index=name_of(where),
        pictures=tuple(found),
    )


def name_of(where: "StoredIndex | Atlas") -> str | None:
    """Return the name of an index; None for an atlas."""
    return None if isinstance(where, Atlas) else where.manifest.name


def _in_atlas(
    atlas: Atlas, vectors: npt.NDArray[np.float32], top: int
) -> list[schemas.Neighbourhood]:
    numbers, apart = atlas.nearest(vectors, top)
    found = zip(atlas.place(vectors).tolist(), numbers.tolist(), apart.tolist(), strict=True)
    return [
        schemas.Neighbourhood(
            place=schemas.Point(x=x, y=y),
            nearest=tuple(
                schemas.Neighbour(rank=rank, number=i, label=atlas.labels[i], distance=distance)
                for rank, (i, distance) in enumerate(zip(row, distances, strict=True), 1)
            ),
        )
        for (x, y), row, distances in found
    ]


def _in_index(
    index: "StoredIndex", vectors: npt.NDArray[np.float32], top: int
) -> list[schemas.Neighbourhood]:
    if top > MAX_TOP:
        raise RequestError(
            "bad-parameter", f"top = {top}: an index gives at most {MAX_TOP} neighbours."
        )
    numbers, similarities = index.vectors.search(vectors, top)
    found = []
    for row, cosines in zip(numbers.tolist(), similarities.tolist(), strict=True):
        neighbours = []
        for rank, (number, cosine) in enumerate(zip(row, cosines, strict=True), 1):
            if number < 0:  # an approximate search found fewer
                break
            path, label = index.picture(number)
            neighbours.append(
                schemas.Neighbour(
                    rank=rank,
                    number=number,
                    label=label,
                    path=path,
                    similarity=min(1.0, max(-1.0, cosine)),  # rounding can exceed the range
                )
            )
        found.append(schemas.Neighbourhood(nearest=tuple(neighbours)))
    return found
