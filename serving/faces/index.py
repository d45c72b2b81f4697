"""One worker's FAISS index over embeddings: a cache, which can be thrown away at any time.

Both metrics are searched as squared Euclidean distance: of unit vectors it is twice the cosine
distance, so cosine needs its vectors normalised and nothing else.
"""

from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from serving.faces.lookup import Numbers, Vectors

Metric = Literal["euclidean", "cosine"]

RECALL = 0.99
"""Recall@1 that an approximate index must reach on its own gallery; it looks longer until then."""
TRAINING_PER_CELL = 40
"""Embeddings that place one cell; FAISS warns below 39."""
TRAINING_ROUNDS = 6
"""Of k-means; more change recall by less than the number of cells looked into does."""
QUERIES = 256
"""Embeddings of the gallery that recall is measured with."""


class Index:
    """Numbers of pictures by distance of their embeddings. Not safe to use from two threads.

    Args:
        model: hash of the model whose embeddings it holds.
        metric: of that model.
        threads: that FAISS may use.
        training: N x D embeddings from all over the gallery, to build an approximate index
            (inverted lists, float16); None for an exact one.
        size: number of embeddings that are expected.
    """

    def __init__(
        self,
        model: str,
        metric: Metric,
        threads: int,
        training: Vectors | None = None,
        size: int = 0,
    ) -> None:
        self.model = model
        self.metric: Metric = metric
        self.threads = threads
        self.approximate = training is not None
        self.built_for = size
        self.recall: float | None = None
        self.seen = 0  # number of the last change that is in it
        self._faiss: Any = None
        if training is not None:
            self._limit_threads()
            self._faiss = _inverted_lists(unit(training, metric), size)

    def __len__(self) -> int:
        return 0 if self._faiss is None else int(self._faiss.ntotal)

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Add embeddings (N x D) under their pictures' numbers (N), all new to the index."""
        if len(numbers) == 0:
            return
        if self._faiss is None:
            self._faiss = faiss.IndexIDMap2(faiss.IndexFlatL2(vectors.shape[1]))
        self._limit_threads()
        self._faiss.add_with_ids(unit(vectors, self.metric), numbers)

    def remove(self, numbers: Numbers) -> None:
        """Remove what lies under these numbers; numbers that are not there do no harm."""
        if self._faiss is not None and len(numbers):
            self._limit_threads()
            self._faiss.remove_ids(numbers)

    def search(self, query: npt.NDArray[np.float32], count: int) -> Numbers:
        """Numbers of the `count` nearest pictures to each query (Q x D), nearest first.

        Returns:
            int64 Q x min(count, size of the index); -1 where an approximate search found less.
        """
        if not len(self):
            return np.empty((len(query), 0), np.int64)
        self._limit_threads()
        _, numbers = self._faiss.search(unit(query, self.metric), min(count, len(self)))
        found: Numbers = numbers
        return found

    def tune(self, watch: "Nearest") -> None:
        """Look into more cells until the recall is reached, and note what it came to."""
        while True:
            found = self.search(watch.vectors, 2)  # (Q, 2)
            others = np.where(found[:, 0] == watch.numbers, found[:, -1], found[:, 0])
            self.recall = float((others == watch.nearest).mean())
            if self.recall >= RECALL or self._faiss.nprobe >= self._faiss.nlist:
                return
            self._faiss.nprobe = min(2 * self._faiss.nprobe, self._faiss.nlist)

    def _limit_threads(self) -> None:
        """FAISS counts its threads by calling thread: what one sets, another does not see."""
        faiss.omp_set_num_threads(self.threads)


class Nearest:
    """Exact nearest neighbours of some pictures, found while the gallery passes by in pages.

    Args:
        numbers: Q pictures of the gallery.
        vectors: their embeddings, Q x D.
        metric: of the model.
    """

    def __init__(self, numbers: Numbers, vectors: Vectors, metric: Metric) -> None:
        self.numbers = numbers
        self.vectors = vectors
        self.metric: Metric = metric
        self._best = np.full(len(numbers), np.inf, np.float32)
        self.nearest = np.full(len(numbers), -1, np.int64)  # Q; a picture is not its own

    def see(self, numbers: Numbers, vectors: Vectors) -> None:
        """Compare with a page: N numbers and N x D embeddings."""
        if len(numbers) == 0:
            return
        distances, rows = faiss.knn(
            unit(self.vectors, self.metric), unit(vectors, self.metric), min(2, len(numbers))
        )
        for distance, row in zip(distances.T, rows.T, strict=True):
            found = numbers[row]
            better = (found != self.numbers) & (distance < self._best)
            self._best = np.where(better, distance, self._best)
            self.nearest = np.where(better, found, self.nearest)


def unit(vectors: Vectors, metric: Metric) -> Vectors:
    """What is indexed for a metric: N x D, of length 1 for cosine."""
    if metric == "euclidean":
        return np.ascontiguousarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled


def distances(query: Vectors, others: Vectors, metric: Metric) -> npt.NDArray[np.float64]:
    """Exact distance of one embedding to others.

    Args:
        query: D.
        others: N x D.
        metric: euclidean, or cosine (1 - cosine of the angle).

    Returns:
        N distances.
    """
    a, b = query.astype(np.float64), others.astype(np.float64)
    if metric == "euclidean":
        result: npt.NDArray[np.float64] = np.linalg.norm(b - a, axis=1)
        return result
    lengths = np.linalg.norm(b, axis=1) * np.linalg.norm(a)
    cosines: npt.NDArray[np.float64] = (b @ a) / lengths
    return 1.0 - cosines


def usable(vector: npt.NDArray[np.float32], metric: Metric) -> bool:
    """Whether an embedding (D) has a distance to others: finite, and of some length for cosine."""
    return bool(np.isfinite(vector).all() and (metric == "euclidean" or np.any(vector)))


def _inverted_lists(training: Vectors, size: int) -> Any:
    """An empty inverted-file index with float16 vectors, its cells placed by k-means."""
    dimension = training.shape[1]
    cells = max(1, min(_power_of_two(2 * np.sqrt(size)), len(training) // TRAINING_PER_CELL))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatL2(dimension),
        dimension,
        cells,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_L2,
        False,  # vectors themselves, not their difference to the cell's centre
    )
    index.cp.niter = TRAINING_ROUNDS
    index.train(training)
    index.nprobe = 4
    return index


def _power_of_two(number: float) -> int:
    return int(2 ** np.ceil(np.log2(max(number, 1))))


def training_size(size: int) -> int:
    """How many embeddings to train an approximate index for `size` of them with."""
    return min(size, TRAINING_PER_CELL * _power_of_two(2 * np.sqrt(size)))
