"""t-SNE of vectors, placement of new vectors on an existing map, and measures of its quality."""

from typing import Any

import numpy as np
import numpy.typing as npt
from openTSNE import TSNE, TSNEEmbedding
from openTSNE.affinity import PerplexityBasedNN
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from analysis.answers import Floats, Ints
from analysis.inputs import UNKNOWN
from artifacts import VitrineError
from artifacts.datasets.base import spread
from artifacts.provenance import cores

INITIALISATION = "pca"
PERPLEXITY = 30
NEIGHBOURS = 10
MAX_COMPARED = 2000
"""Maximum number of points for trustworthiness and silhouette, whose memory grows quadratically."""

Vectors = npt.NDArray[np.float32]


def usual_perplexity(count: int) -> float:
    """Return `PERPLEXITY`, or the maximum that `count` vectors allow, but at least 1."""
    return float(min(PERPLEXITY, max(1, (count - 1) // 3)))


def embed(vectors: Vectors, perplexity: float, seed: int) -> Floats:
    """Embed vectors in the plane by t-SNE (van der Maaten and Hinton 2008), with openTSNE.

    Args:
        vectors: N x D, finite.
        perplexity: effective number of neighbours of each vector; at most (N - 1) / 3.
        seed: random seed; the same seed gives the same map.

    Returns:
        N x 2 positions.

    Raises:
        VitrineError: there are too few vectors for the perplexity, or they cannot be embedded.
    """
    count, width = vectors.shape
    if count < 3 * perplexity + 1:
        needed = int(np.ceil(3 * perplexity + 1))
        raise VitrineError(
            f"{count} pictures are too few for perplexity {perplexity:g}, which needs {needed}; "
            + (
                f"use more pictures or --perplexity {(count - 1) // 3} at most."
                if count >= 4  # noqa: PLR2004  minimum for a perplexity of 1
                else "use more pictures; a map needs at least 4."
            )
        )
    if width < 2 or not np.isfinite(vectors).all() or not np.ptp(vectors, axis=0).any():  # noqa: PLR2004
        raise VitrineError(
            f"the features ({count} x {width}) cannot be mapped: they must be finite, at least two "
            "numbers each, and not the same for all pictures."
        )
    tsne = TSNE(
        perplexity=perplexity, initialization=INITIALISATION, random_state=seed, n_jobs=cores()
    )
    return np.asarray(tsne.fit(vectors))


def place(old: Vectors, points: Floats, new: Vectors, perplexity: float, seed: int) -> Floats:
    """Place new vectors on an existing map, whose points do not move (Poličar et al. 2023).

    Args:
        old: N x D vectors of the map.
        points: N x 2 positions of `old`.
        new: M x D vectors to place.
        perplexity: perplexity of the map.
        seed: seed of the map.

    Returns:
        M x 2 positions.
    """
    affinities = PerplexityBasedNN(old, perplexity, n_jobs=cores(), random_state=seed)
    embedding = TSNEEmbedding(points.copy(), affinities, n_jobs=cores(), random_state=seed)
    return np.asarray(embedding.transform(new))


def nearest(vectors: npt.NDArray[Any], count: int = NEIGHBOURS) -> Ints:
    """Return the indices of the nearest other vectors of each, nearest first (Euclidean).

    The result is N x `count`, or N x (N - 1) if there are fewer others.
    """
    count = min(count, len(vectors) - 1)
    if not count:
        return np.empty((len(vectors), 0), np.int64)
    search = NearestNeighbors(n_neighbors=count, n_jobs=cores()).fit(vectors)
    places: Ints = search.kneighbors(return_distance=False)
    return places


def measure(vectors: Vectors, points: Floats, labels: Ints) -> dict[str, float]:
    """Measure how well a map preserves neighbourhoods and separates classes.

    Args:
        vectors: N x D.
        points: N x 2 positions.
        labels: N class indices; without classes, only the trustworthiness is measured.

    Returns:
        Measures by name, none for fewer than 3 vectors: the trustworthiness 0..1 (Venna and Kaski
        2001) of `NEIGHBOURS` neighbours on the map; the leave-one-out accuracy 0..1 of the majority
        class of as many neighbours, among the vectors and on the map; and the silhouette -1..1
        (Rousseeuw 1987) of the classes, in both spaces.
    """
    some = spread(len(vectors), MAX_COMPARED)
    few = min(NEIGHBOURS, (len(some) - 1) // 2)
    if not few:
        return {}
    found = {"trustworthiness": trustworthiness(vectors[some], points[some], n_neighbors=few)}
    if (labels == UNKNOWN).any() or len(np.unique(labels[some])) < 2:  # noqa: PLR2004
        return {key: float(value) for key, value in found.items()}
    for name, space in (("features", vectors), ("map", points)):
        found[f"neighbour accuracy, {name}"] = _majority_accuracy(labels, nearest(space))
        if len(np.unique(labels[some])) < len(some):
            found[f"silhouette, {name}"] = silhouette_score(space[some], labels[some])
    return {key: float(value) for key, value in found.items()}


def _majority_accuracy(labels: Ints, places: Ints) -> float:
    votes = np.zeros((len(labels), int(labels.max()) + 1), np.int64)
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[places]), 1)
    return float((votes.argmax(axis=1) == labels).mean())
