"""Pairs of pictures of people, and how far apart the two lie."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artifacts.verification.decision import Histogram, Pairs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
CHUNK = 2**14
"""Pairs whose rows are held twice at a time."""
BINS = 50
"""Of a histogram of distances."""


@dataclass(frozen=True)
class Measured:
    """Distances of pairs of pictures, and the people on them."""

    source: str
    distances: Floats
    """N."""
    people: Ints
    """N x 2: number of the person on each picture."""
    pictures: int
    """Pictures in which a face was found."""
    missed: int
    """Pictures in which none was; no pair has them."""

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """N: whether a pair is of one person."""
        same: npt.NDArray[np.bool_] = self.people[:, 0] == self.people[:, 1]
        return same

    @property
    def numbered(self) -> tuple[int, Ints]:
        """How many people there are, and N x 2 of their numbers, from 0 up without gaps."""
        people, numbers = np.unique(self.people, return_inverse=True)
        return len(people), numbers.reshape(-1, 2)

    @property
    def pairs(self) -> Pairs:
        """The pairs in numbers."""
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
        """The pairs by distance, from 0 to the greatest, in `BINS` bins."""
        edges = np.linspace(0, float(self.distances.max()) or 1.0, BINS + 1)
        same, different = (
            np.histogram(self.distances[kind], edges)[0].tolist()
            for kind in (self.same, ~self.same)
        )
        return Histogram(width=edges[1], same=tuple(same), different=tuple(different))


def all_pairs(
    vectors: Vectors, people: Ints, source: str, metric: str, missed: int = 0
) -> Measured:
    """Every pair of N pictures.

    Args:
        vectors: N x D.
        people: N numbers.
        source: what to call them.
        metric: euclidean or cosine, as `artifacts.decision.Verification` has them.
        missed: pictures in which no face was found.
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
    """Distances of pairs of rows.

    Args:
        vectors: N x D.
        first: P places of rows.
        second: P places of rows.
        metric: euclidean; or cosine, 1 - cosine of the angle, 0..2.

    Returns:
        P.
    """
    rows = vectors.astype(np.float64)
    if metric == "cosine":
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.maximum(1 - _dots(rows, first, second), 0.0)
    squares = (rows**2).sum(1)
    apart = squares[first] + squares[second] - 2 * _dots(rows, first, second)
    lengths: Floats = np.sqrt(np.maximum(apart, 0.0))
    return lengths


def _dots(rows: Floats, first: Ints, second: Ints) -> Floats:
    """Products of pairs of rows: of all rows with all where most pairs are wanted."""
    if len(rows) ** 2 <= 4 * len(first):
        products: Floats = (rows @ rows.T)[first, second]
        return products
    parts = range(0, len(first), CHUNK)
    chunks = [np.s_[start : start + CHUNK] for start in parts]
    dots = [np.einsum("nd,nd->n", rows[first[chunk]], rows[second[chunk]]) for chunk in chunks]
    return np.concatenate(dots) if dots else np.empty(0)
