"""Pairs of pictures of people, and the distances of their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from artifacts.verification.decision import Histogram, Pairs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
CHUNK = 2**14
"""Number of pairs whose embeddings are copied at a time."""
BINS = 50
"""Number of bins of a histogram of distances."""


@dataclass(frozen=True)
class Measured:
    """Distances of N pairs of pictures, and the people in them."""

    source: str
    """Description of the pictures."""
    distances: Floats
    """N distances."""
    people: Ints
    """N x 2: the person in each of the two pictures, as a number."""
    pictures: int
    """Number of pictures in which a face was found."""
    missed: int
    """Number of pictures without a detected face; they are in no pair."""
    weights: Floats | None = None
    """N weights of the pairs, on average 1 among those of one person and among those of two; None
    if all pairs count alike. See `pooled`."""

    @cached_property
    def same(self) -> npt.NDArray[np.bool_]:
        """N booleans: whether a pair shows one person."""
        same: npt.NDArray[np.bool_] = self.people[:, 0] == self.people[:, 1]
        return same

    def weight(self, chosen: npt.NDArray[np.bool_]) -> Floats:
        """Return the weights of the chosen pairs (N booleans)."""
        return np.ones(int(chosen.sum())) if self.weights is None else self.weights[chosen]

    @cached_property
    def numbered(self) -> tuple[int, Ints]:
        """The number of people, and `people` renumbered from 0 without gaps, N x 2."""
        people, numbers = np.unique(self.people, return_inverse=True)
        return len(people), numbers.reshape(-1, 2)

    @property
    def pairs(self) -> Pairs:
        """The numbers of people and pairs, as the manifest records them."""
        count = int(self.same.sum())
        return Pairs(
            dataset=self.source,
            people=len(np.unique(self.people)),
            same=count,
            different=len(self.people) - count,
            histogram=self.histogram,
        )

    @property
    def histogram(self) -> Histogram:
        """Histogram of the distances, from 0 to the largest one, with `BINS` bins."""
        edges = np.linspace(0, float(self.distances.max()) or 1.0, BINS + 1)
        same, different = (
            np.histogram(self.distances[kind], edges)[0].tolist()
            for kind in (self.same, ~self.same)
        )
        return Histogram(width=edges[1], same=tuple(same), different=tuple(different))


def pooled(sources: Sequence[Measured]) -> Measured:
    """Put the pairs of several sources of pictures together.

    Nobody is paired with people of another source. Each source counts by its number of people, not
    of pairs: otherwise, its weight would grow with the square of the number of its pictures.
    """
    if len(sources) == 1:
        return sources[0]
    people, weights, start = [], [], 0
    total = sum(each.numbered[0] for each in sources)
    for each in sources:
        count, numbers = each.numbered
        people.append(numbers + start)
        start += count
        there = each.same
        shares = (np.where(there, there.mean(), 1 - there.mean()) * len(there)).astype(np.float64)
        weights.append(count / total / shares)
    every = np.concatenate(people)
    weight = np.concatenate(weights)  # sums to 1 over either kind of pair
    same = every[:, 0] == every[:, 1]
    return Measured(
        source=" and ".join(each.source for each in sources),
        distances=np.concatenate([each.distances for each in sources]),
        people=every,
        pictures=sum(each.pictures for each in sources),
        missed=sum(each.missed for each in sources),
        weights=weight * np.where(same, same.sum(), (~same).sum()),
    )


def all_pairs(
    vectors: Vectors, people: Ints, source: str, metric: str, missed: int = 0
) -> Measured:
    """Measure every pair of N pictures.

    Args:
        vectors: N x D embeddings.
        people: N numbers of the people.
        source: description of the pictures.
        metric: euclidean or cosine; see `artifacts.verification.decision.Verification`.
        missed: number of pictures in which no face was found.
    """
    first, second = np.triu_indices(len(vectors), 1)
    return Measured(
        source=source,
        distances=distances(vectors, first, second, metric),
        people=np.stack([people[first], people[second]], 1),
        pictures=len(vectors),
        missed=missed,
    )


def distances(vectors: Vectors, first: Ints, second: Ints, metric: str) -> Floats:
    """Return the distances of P pairs of rows.

    Args:
        vectors: N x D.
        first: P row indices.
        second: P row indices.
        metric: euclidean; or cosine, 1 - cosine of the angle, 0..2.

    Returns:
        P distances.
    """
    rows = vectors.astype(np.float64)
    if metric == "cosine":
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.maximum(1 - _dots(rows, first, second), 0.0)
    squares = (rows**2).sum(1)
    squared = squares[first] + squares[second] - 2 * _dots(rows, first, second)
    lengths: Floats = np.sqrt(np.maximum(squared, 0.0))
    return lengths


def _dots(rows: Floats, first: Ints, second: Ints) -> Floats:
    """Return the inner products of pairs of rows, by one matrix product if most are needed."""
    if len(rows) ** 2 <= 4 * len(first):
        products: Floats = (rows @ rows.T)[first, second]
        return products
    parts = range(0, len(first), CHUNK)
    chunks = [np.s_[start : start + CHUNK] for start in parts]
    dots = [np.einsum("nd,nd->n", rows[first[chunk]], rows[second[chunk]]) for chunk in chunks]
    return np.concatenate(dots) if dots else np.empty(0)
