"""The gallery as one worker sees it: the database, and an index that is kept up to date with it.

The index is one of FAISS in the worker's memory, or one of pgvector in the database.
"""

import logging
import threading
import time
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.faces.database import Database
from serving.faces.index import REBUILD_GROWTH, Index, Metric, distances
from serving.faces.person_distance import person_distance
from serving.faces.pgvector_index import PgvectorIndex
from serving.faces.reader import GalleryReader
from serving.faces.writer import GalleryWriter
from serving.settings import Settings

MIN_CANDIDATES = 20
"""Minimum number of people whose distance by all their pictures is computed."""
MAX_PICTURES = 100
"""Maximum number of pictures of a person that their distance is computed from, the newest."""
RETRY_SECONDS = 600
"""Time before an approximate index that could not be built is tried again."""

log = logging.getLogger("bentoml.vitrine")


class Neighbour(NamedTuple):
    """An enrolled person, with the picture of theirs that is nearest to the query."""

    person: str
    picture: str
    distance: float


class Gallery:
    """The people enrolled in a database, and this process's index to search them.

    Args:
        url: URL or path of the database, as `Database` takes it; it is opened when first needed.
        threads: number of threads that FAISS may use.
        exact: number of embeddings up to which the search is exact.
        pgvector: whether the database searches, instead of an index in this process.
    """

    def __init__(
        self, url: str, threads: int = 1, exact: int = 100_000, *, pgvector: bool = False
    ) -> None:
        self.url = url
        self.threads = threads
        self.exact = exact
        self.pgvector = pgvector
        self._opening = threading.Lock()
        self._database: Database | None = None
        self._lock = threading.Lock()  # one update of the index at a time
        self._index: Index | PgvectorIndex | None = None
        self._building = threading.Lock()
        self._next_build = 0.0  # reading of time.monotonic before which none is tried

    @classmethod
    def from_settings(cls, settings: Settings, threads: int = 1) -> "Gallery":
        """The gallery that `VITRINE_DATABASE`, `…FACE_INDEX` and `…EXACT_SEARCH` describe."""
        pgvector = settings.face_index == "pgvector"
        return cls(settings.database, threads, settings.exact_search, pgvector=pgvector)

    @property
    def database(self) -> Database:
        """The database, which is opened on first use.

        Raises:
            VitrineError: see `Database`.
            RequestError: the database does not answer.
        """
        with self._opening:
            if self._database is None:
                self._database = Database(self.url, pgvector=self.pgvector)
            return self._database

    @property
    def writer(self) -> GalleryWriter:
        """The changes that can be made to the gallery."""
        return GalleryWriter(self.database)

    @property
    def reader(self) -> GalleryReader:
        """The queries that can be made to the gallery."""
        return GalleryReader(self.database)

    def search(
        self, embedding: npt.NDArray[np.float32], model: str, metric: Metric, count: int
    ) -> list[Neighbour]:
        """Return the `count` people nearest to an embedding, nearest first.

        The distance of a person is that of their nearest picture. Every change that was committed
        before the call is taken into account. The index only chooses candidates: their distances
        are computed from the embeddings in the database.

        Args:
            embedding: D float32.
            model: hash of the model that gave the embedding.
            metric: metric of that model.
            count: number of people to return, at least 1.

        Raises:
            RequestError: the gallery holds embeddings of another model.
        """
        wanted = 2 * count + 8
        while True:
            with self._lock:
                index = self._current_index(model, metric)
            size = len(index)
            found = index.search(embedding[None], wanted)[0]  # (wanted,)
            best = self._nearest_people(embedding, model, metric, found[found >= 0].tolist())
            if len(best) >= count or wanted >= size:
                self._build_if_large()
                return best[:count]
            wanted *= 4

    def identify(
        self,
        embedding: npt.NDArray[np.float32],
        model: str,
        metric: Metric,
        count: int,
        alike: float,
    ) -> list[Neighbour]:
        """Return the `count` people nearest to an embedding by all their pictures, nearest first.

        The candidates are the people of the nearest pictures. Their distances are those of
        `person_distance`, from up to `MAX_PICTURES` pictures of each.

        Args:
            embedding: D float32.
            model: hash of the model that gave the embedding.
            metric: metric of that model.
            count: number of people to return, at least 1.
            alike: see `person_distance`.

        Raises:
            RequestError: the gallery holds embeddings of another model.
        """
        near = self.search(embedding, model, metric, max(count, MIN_CANDIDATES))
        vectors = self.reader.pictures_of([each.person for each in near], model, MAX_PICTURES)
        people = [
            each._replace(distance=person_distance(embedding, vectors[each.person], metric, alike))
            for each in near
            if each.person in vectors  # others were removed meanwhile
        ]
        return sorted(people, key=lambda each: each.distance)[:count]

    def load(self, model: str, metric: Metric) -> None:
        """Bring the index up to date; a large gallery gets an approximate index.

        That of FAISS is built before this returns; that of pgvector takes long, and is built in
        another thread, while searches are exact. Does nothing unless the gallery holds embeddings
        of this model.
        """
        if self.reader.model() != model:
            return
        with self._lock:
            empty = self._index is None and not self.pgvector
            if empty and self.reader.state()[3] > self.exact:
                self._index = self._build(model, metric)
            self._current_index(model, metric)
        self._build_if_large()

    def search_kind(self) -> tuple[Literal["exact", "approximate"], float | None]:
        """Return the kind of search, and the measured recall@1 of an approximate index."""
        if self._index is None or not self._index.approximate:
            return "exact", None
        return "approximate", self._index.recall

    def _nearest_people(
        self, embedding: npt.NDArray[np.float32], model: str, metric: Metric, numbers: list[int]
    ) -> list[Neighbour]:
        """Return the people on these pictures, each once, sorted by exact distance."""
        pictures = self.reader.enrolled(numbers, model)
        if not pictures:
            return []
        away = distances(embedding, np.stack([picture.vector for picture in pictures]), metric)
        best: dict[str, Neighbour] = {}
        for i in np.argsort(away, kind="stable").tolist():
            picture = pictures[i]
            neighbour = Neighbour(picture.person, picture.id, float(away[i]))
            best.setdefault(picture.person, neighbour)
        return list(best.values())

    def _current_index(self, model: str, metric: Metric) -> Index | PgvectorIndex:
        """Return the index, after applying every change that was committed before the call."""
        index = self._index
        if index is None or index.model != model:
            index = (
                PgvectorIndex(self.reader, model, metric, self.exact)
                if self.pgvector
                else Index(self.reader, model, metric, self.threads)
            )
        index.update()  # if this raises, the old index stays in place
        self._index = index
        return index

    def _build(self, model: str, metric: Metric) -> Index | PgvectorIndex:
        """Build an approximate index of the whole gallery, and measure its recall."""
        if self.pgvector:
            return PgvectorIndex.build(self.reader, model, metric, self.exact)
        return Index.build(self.reader, model, metric, self.threads)

    def _build_if_large(self) -> None:
        """Build an approximate index in another thread, if one is due; searches continue."""
        index = self._index
        if index is None or len(index) <= max(self.exact, REBUILD_GROWTH * index.built_for):
            return
        if time.monotonic() < self._next_build or not self._building.acquire(blocking=False):
            return

        def build() -> None:
            try:
                built = self._build(index.model, index.metric)
                with self._lock:
                    if self._index is index:
                        self._index = built
            except Exception:
                self._next_build = time.monotonic() + RETRY_SECONDS
                log.exception(
                    "an approximate index could not be built; the present index stays in use, and "
                    "it is tried again in %d seconds",
                    RETRY_SECONDS,
                )
            finally:
                self._building.release()

        threading.Thread(target=build, name="vitrine-index", daemon=True).start()
