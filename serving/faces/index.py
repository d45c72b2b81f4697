"""One worker's FAISS index over embeddings: a cache, which can be discarded at any time.

Both metrics are searched by squared Euclidean distance. Between unit vectors it is twice the cosine
distance, so for cosine it is enough to normalise the vectors.
"""

import logging
import threading
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from serving.faces.reader import GalleryReader, Numbers, Vectors
from serving.faces.writer import model_mismatch

Metric = Literal["euclidean", "cosine"]

MIN_RECALL = 0.99
"""Recall@1 that an approximate index should reach on its own gallery; `Index.tune` has it search
more cells until it does."""
TRAINING_PER_CELL = 40
"""Number of training embeddings for each cell; FAISS warns below 39."""
KMEANS_ITERATIONS = 6
"""Iterations of k-means. More of them change recall by less than searching more cells does."""
RECALL_QUERIES = 256
"""Number of embeddings of the gallery with which recall is measured."""
PAGE_SIZE = 10_000
"""Number of embeddings that are read with one query."""
REBUILD_GROWTH = 4
"""An approximate index is built or measured anew once the gallery has grown by this factor."""

log = logging.getLogger("bentoml.vitrine")


class Index:
    """Finds the numbers of the pictures whose embeddings are nearest, one search at a time.

    Args:
        reader: of the gallery.
        model: hash of the model whose embeddings it holds.
        metric: metric of that model.
        threads: number of threads that FAISS may use.
        training: a sample of the gallery's embeddings, N x D, with which an approximate index
            (inverted lists, float16) is trained; None for an exact index.
        size: expected number of embeddings.
    """

    def __init__(
        self,
        reader: GalleryReader,
        model: str,
        metric: Metric,
        threads: int,
        training: Vectors | None = None,
        size: int = 0,
    ) -> None:
        self.reader = reader
        self.model = model
        self.metric: Metric = metric
        self.threads = threads
        self.approximate = training is not None
        self.built_for = size
        self.recall: float | None = None
        self.last_change = 0  # number of the last change that was applied
        self._lock = threading.RLock()  # FAISS may not be searched while it is changed
        self._faiss: Any = None
        if training is not None:
            self._limit_threads()
            self._faiss = _inverted_lists(prepared(training, metric), size)

    @classmethod
    def build(cls, reader: GalleryReader, model: str, metric: Metric, threads: int) -> "Index":
        """Build an approximate index of the whole gallery, and measure its recall."""
        size = reader.state()[3]
        _, training = reader.sample(training_size(size), seed=0)
        index = cls(reader, model, metric, threads, training, size)
        truth = GroundTruth(*reader.sample(RECALL_QUERIES, seed=1), metric)
        index.update(truth)
        index.tune(truth)
        log.info("approximate search of %d faces: recall@1 %.3f", len(index), index.recall)
        return index

    def __len__(self) -> int:
        return 0 if self._faiss is None else int(self._faiss.ntotal)

    def update(self, truth: "GroundTruth | None" = None) -> None:
        """Apply every change of the gallery that was committed before the call.

        Args:
            truth: if given, it is shown every embedding that is added.

        Raises:
            RequestError: the gallery holds embeddings of another model.
        """
        while True:
            page = self.reader.page(self.last_change, PAGE_SIZE)
            if page.model not in {None, self.model}:
                raise model_mismatch(page.model, self.model)
            with self._lock:
                self.remove(page.removed)
                self.add(page.numbers, page.vectors)
                self.last_change = page.upto
            if truth is not None:
                truth.update(page.numbers, page.vectors)
            if page.upto == page.head:
                return

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Add embeddings (N x D) under the numbers of their pictures (N), all new to the index."""
        if len(numbers) == 0:
            return
        if self._faiss is None:
            self._faiss = faiss.IndexIDMap2(faiss.IndexFlatL2(vectors.shape[1]))
        self._limit_threads()
        self._faiss.add_with_ids(prepared(vectors, self.metric), numbers)

    def remove(self, numbers: Numbers) -> None:
        """Remove the embeddings with these numbers; unknown numbers are ignored."""
        if self._faiss is not None and len(numbers):
            self._limit_threads()
            self._faiss.remove_ids(numbers)

    def search(self, query: npt.NDArray[np.float32], count: int) -> Numbers:
        """Return the numbers of the `count` pictures nearest to each query (Q x D), nearest first.

        Returns:
            int64 Q x min(count, size of the index); -1 if an approximate search found fewer.
        """
        with self._lock:
            if not len(self):
                return np.empty((len(query), 0), np.int64)
            self._limit_threads()
            _, numbers = self._faiss.search(prepared(query, self.metric), min(count, len(self)))
        found: Numbers = numbers
        return found

    def tune(self, truth: "GroundTruth") -> None:
        """Search more cells until `MIN_RECALL` is reached, and store the measured recall."""
        while True:
            self.recall = truth.recall(self.search(truth.vectors, 2))
            if self.recall >= MIN_RECALL or self._faiss.nprobe >= self._faiss.nlist:
                return
            self._faiss.nprobe = min(2 * self._faiss.nprobe, self._faiss.nlist)

    def _limit_threads(self) -> None:
        """Set the number of threads, which FAISS keeps separately for each calling thread."""
        faiss.omp_set_num_threads(self.threads)


class GroundTruth:
    """The exact nearest neighbours of some pictures, against which recall is measured.

    Args:
        numbers: numbers of Q pictures of the gallery.
        vectors: their embeddings, Q x D.
        metric: metric of the model.
    """

    def __init__(self, numbers: Numbers, vectors: Vectors, metric: Metric) -> None:
        self.numbers = numbers
        self.vectors = vectors
        self.metric: Metric = metric
        self._best = np.full(len(numbers), np.inf, np.float32)
        self.nearest = np.full(len(numbers), -1, np.int64)  # Q; a picture is not its own neighbour

    def update(self, numbers: Numbers, vectors: Vectors) -> None:
        """Compare the queries with N further pictures: their numbers and embeddings (N x D)."""
        if len(numbers) == 0:
            return
        distances, rows = faiss.knn(
            prepared(self.vectors, self.metric),
            prepared(vectors, self.metric),
            min(2, len(numbers)),
        )
        for distance, row in zip(distances.T, rows.T, strict=True):
            found = numbers[row]
            better = (found != self.numbers) & (distance < self._best)
            self._best = np.where(better, distance, self._best)
            self.nearest = np.where(better, found, self.nearest)

    def recall(self, found: Numbers) -> float:
        """Return the recall@1 of a search for two pictures (Q x 2), which may find the query."""
        others = np.where(found[:, 0] == self.numbers, found[:, -1], found[:, 0])
        return float((others == self.nearest).mean())


def prepared(vectors: Vectors, metric: Metric) -> Vectors:
    """Return vectors (N x D) as they are indexed for a metric: of length 1 for cosine."""
    if metric == "euclidean":
        return np.ascontiguousarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled


def distances(query: Vectors, others: Vectors, metric: Metric) -> npt.NDArray[np.float64]:
    """Return the exact distances of one embedding to others.

    Args:
        query: the embedding, D.
        others: the other embeddings, N x D.
        metric: euclidean, or cosine (1 - cosine of the angle).

    Returns:
        float64 N.
    """
    a, b = query.astype(np.float64), others.astype(np.float64)
    if metric == "euclidean":
        result: npt.NDArray[np.float64] = np.linalg.norm(b - a, axis=1)
        return result
    lengths = np.linalg.norm(b, axis=1) * np.linalg.norm(a)
    cosines: npt.NDArray[np.float64] = (b @ a) / lengths
    return 1.0 - cosines


def is_comparable(vector: npt.NDArray[np.float32], metric: Metric) -> bool:
    """Whether an embedding (D) has a distance to others: it is finite and, for cosine, not zero."""
    return bool(np.isfinite(vector).all() and (metric == "euclidean" or np.any(vector)))


def _inverted_lists(training: Vectors, size: int) -> Any:
    """Return an empty inverted-file index of float16 vectors, with its cells found by k-means."""
    dimension = training.shape[1]
    cells = max(1, min(_power_of_two(2 * np.sqrt(size)), len(training) // TRAINING_PER_CELL))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatL2(dimension),
        dimension,
        cells,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_L2,
        False,  # store the vectors, not their differences from the cell's centre
    )
    index.cp.niter = KMEANS_ITERATIONS
    index.train(training)
    index.nprobe = 4
    return index


def _power_of_two(number: float) -> int:
    return int(2 ** np.ceil(np.log2(max(number, 1))))


def training_size(size: int) -> int:
    """Return how many embeddings to train an approximate index with, for a gallery of `size`."""
    return min(size, TRAINING_PER_CELL * _power_of_two(2 * np.sqrt(size)))
