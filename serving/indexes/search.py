"""The FAISS index over embeddings of unit length, whose inner products are cosine similarities."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

MAX_EXACT_FLOATS = 100_000_000
"""Maximum number of floats (vectors x dimension) that are searched exactly.

`python -m benchmarks.picture_index` measures it. One core compares a query with 75 million
floats in 12 ms. HNSW finds 99.99 % of the ten nearest in 0.4 ms, but takes 20 s to build."""
LINKS = 32
"""Number of links of each vector in the graph of an approximate index (M of HNSW)."""
BUILD_CANDIDATES = 100
"""Number of candidates for the links of a new vector (efConstruction of HNSW)."""
SEARCH_CANDIDATES = 128
"""Minimum number of candidates in a search (efSearch of HNSW)."""
RECALL_QUERIES = 200
"""Number of vectors of an index with which its recall is measured."""
RECALL_AT = 10
"""Number of neighbours among which recall is measured."""


class VectorIndex:
    """Finds the vectors that are most similar to a query. Its searches may run in parallel.

    Args:
        index: a FAISS index with the inner product as its metric.
    """

    def __init__(self, index: Any) -> None:
        self._faiss = index

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def exact(self) -> bool:
        """Whether a search compares the query with every vector."""
        return isinstance(self._faiss, faiss.IndexFlat)

    @property
    def dimension(self) -> int:
        """Number of floats in a vector."""
        return int(self._faiss.d)

    @classmethod
    def build(cls, vectors: Floats, max_exact: int = MAX_EXACT_FLOATS) -> "VectorIndex":
        """Return the index of vectors (N x D) of unit length; the same vectors give the same index.

        Args:
            vectors: at least one.
            max_exact: maximum number of floats that are searched exactly.
        """
        faiss.omp_set_num_threads(1)  # several threads would link the graph in random order
        dimension = vectors.shape[1]
        index: Any
        if vectors.size <= max_exact:
            index = faiss.IndexFlatIP(dimension)
        else:
            index = faiss.IndexHNSWFlat(dimension, LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = BUILD_CANDIDATES
        index.add(np.ascontiguousarray(vectors, np.float32))
        return cls(index)

    @classmethod
    def read(cls, file: Path) -> "VectorIndex":
        """Map an index file into memory, so that the processes that read it share it.

        Raises:
            RuntimeError: the file holds no index.
        """
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)  # FAISS 1.10 reads it into memory
        index = faiss.read_index(str(file), flags)
        if not isinstance(index, faiss.IndexFlat | faiss.IndexHNSWFlat):
            raise RuntimeError(  # noqa: TRY004 - as FAISS does for a file that is no index
                f"an index of type {type(index).__name__} is not expected"
            )
        return cls(index)

    def write(self, file: Path) -> None:
        """Write the index to a file."""
        faiss.write_index(self._faiss, str(file))

    def vectors(self) -> Floats:
        """Return the vectors, N x D."""
        store = self._faiss if self.exact else faiss.downcast_index(self._faiss.storage)
        vectors: Floats = store.reconstruct_n(0, len(self))
        return vectors

    def search(self, queries: Floats, count: int) -> tuple[Rows, Floats]:
        """Return the numbers and cosine similarities of the `count` vectors nearest to each query.

        Args:
            queries: Q x D, of any length.
            count: number of vectors; all if there are fewer.

        Returns:
            Q x count each, most similar first. An approximate index may give the number -1 in the
            last columns if it found fewer.
        """
        count = min(count, len(self))
        faiss.omp_set_num_threads(1)  # FAISS keeps the number separately for each calling thread
        options = {}
        if not self.exact:
            candidates = max(SEARCH_CANDIDATES, 2 * count)
            options["params"] = faiss.SearchParametersHNSW(  # type: ignore[attr-defined]
                efSearch=candidates
            )
        similarities, rows = self._faiss.search(unit(queries), count, **options)
        return rows, similarities

    def recall(self) -> float:
        """Return the share of the ten nearest neighbours that a search finds, over some vectors."""
        vectors = self.vectors()
        chosen = np.linspace(0, len(vectors) - 1, min(RECALL_QUERIES, len(vectors))).astype(int)
        count = min(RECALL_AT, len(vectors))
        found, _ = self.search(vectors[chosen], count)
        _, true = faiss.knn(vectors[chosen], vectors, count, faiss.METRIC_INNER_PRODUCT)
        return float(np.mean([np.isin(t, f).mean() for t, f in zip(true, found, strict=True)]))


def unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return vectors (N x D) scaled to length 1; a vector of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.ascontiguousarray(scaled, np.float32)
