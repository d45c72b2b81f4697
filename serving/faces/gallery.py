"""The gallery as one worker sees it: SQL, and the index that catches up with it."""

import logging
import threading
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.faces.database import Database
from serving.faces.index import QUERIES, Index, Metric, Nearest, distances, training_size
from serving.faces.lookup import Lookup
from serving.faces.store import Store, another_model
from serving.settings import Settings

PAGE = 10_000
"""Embeddings that are read in one go."""
GROWTH = 4
"""An approximate index is built anew when the gallery has grown by this factor."""

log = logging.getLogger("bentoml.vitrine")


class Neighbour(NamedTuple):
    """An enrolled person, by their nearest picture."""

    person: str
    picture: str
    distance: float


class Gallery:
    """People enrolled in a database, searched by this process.

    Args:
        url: as `Database` takes it. It is opened when first needed.
        threads: that FAISS may use.
        exact: number of embeddings up to which the search is exact.
    """

    def __init__(self, url: str, threads: int = 1, exact: int = 100_000) -> None:
        self.url = url
        self.threads = threads
        self.exact = exact
        self._opening = threading.Lock()
        self._database: Database | None = None
        self._lock = threading.Lock()  # one search at a time: threads are for inside of it
        self._index: Index | None = None
        self._building = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings, threads: int = 1) -> "Gallery":
        """The gallery that `VITRINE_DATABASE` and `VITRINE_EXACT_SEARCH` describe."""
        return cls(settings.database, threads, settings.exact_search)

    @property
    def database(self) -> Database:
        """The database, opened; as `Database` raises."""
        with self._opening:
            if self._database is None:
                self._database = Database(self.url)
            return self._database

    @property
    def store(self) -> Store:
        """What changes the gallery."""
        return Store(self.database)

    @property
    def lookup(self) -> Lookup:
        """What is looked up in SQL."""
        return Lookup(self.database)

    def search(
        self, embedding: npt.NDArray[np.float32], model: str, metric: Metric, count: int
    ) -> list[Neighbour]:
        """The `count` people nearest to an embedding, nearest first, each by their best picture.

        Everything that was committed before the call is seen. Distances are computed anew from
        the database: the index only chooses whom to compare.

        Args:
            embedding: D float32.
            model: hash of the model it is of.
            metric: of that model.
            count: people wanted, at least 1.

        Raises:
            RequestError: the gallery holds embeddings of another model.
        """
        wanted = 2 * count + 8
        while True:
            with self._lock:
                index = self._caught_up(model, metric)
                found = index.search(embedding[None], wanted)[0]  # (wanted,)
                size = len(index)
            best = self._people(embedding, model, metric, found[found >= 0].tolist())
            if len(best) >= count or wanted >= size:
                self._build_if_large()
                return best[:count]
            wanted *= 4

    def load(self, model: str, metric: Metric) -> None:
        """Bring the index up to date, as before a search, and build an approximate one if due."""
        if self.lookup.model() != model:
            return
        with self._lock:
            if self._index is None and self.lookup.state()[3] > self.exact:
                self._index = self._build(model, metric)
            self._caught_up(model, metric)

    def search_kind(self) -> tuple[Literal["exact", "approximate"], float | None]:
        """How is searched, and the recall@1 that an approximate index had when built."""
        if self._index is None or not self._index.approximate:
            return "exact", None
        return "approximate", self._index.recall

    def _people(
        self, embedding: npt.NDArray[np.float32], model: str, metric: Metric, numbers: list[int]
    ) -> list[Neighbour]:
        """Owners of pictures, each once, by exact distance."""
        owners = self.lookup.owners(numbers, model)
        if not owners:
            return []
        away = distances(embedding, np.stack([owner.vector for owner in owners]), metric)
        best: dict[str, Neighbour] = {}
        for i in np.argsort(away, kind="stable").tolist():
            owner = owners[i]
            neighbour = Neighbour(owner.person, owner.picture, float(away[i]))
            best.setdefault(owner.person, neighbour)
        return list(best.values())

    def _caught_up(self, model: str, metric: Metric) -> Index:
        """The index, with every change in it that was committed before the call."""
        index = self._index
        if index is None or index.model != model:
            index = Index(model, metric, self.threads)
        self._follow(index)  # a refusal leaves the old one where it is
        self._index = index
        return index

    def _follow(self, index: Index, watch: Nearest | None = None) -> None:
        """Apply to an index what changed since it was last here."""
        while True:
            page = self.lookup.page(index.seen, PAGE)
            if page.model not in {None, index.model}:
                raise another_model(page.model, index.model)
            index.remove(page.removed)
            index.add(page.numbers, page.vectors)
            index.seen = page.upto
            if watch is not None:
                watch.see(page.numbers, page.vectors)
            if page.upto == page.head:
                return

    def _build(self, model: str, metric: Metric) -> Index:
        """An approximate index of the whole gallery, with its recall measured."""
        size = self.lookup.state()[3]
        _, training = self.lookup.sample(training_size(size), seed=0)
        index = Index(model, metric, self.threads, training, size)
        watch = Nearest(*self.lookup.sample(QUERIES, seed=1), metric)
        self._follow(index, watch)
        index.tune(watch)
        log.info("approximate search of %d faces: recall@1 %.3f", len(index), index.recall)
        return index

    def _build_if_large(self) -> None:
        """Build an approximate index aside, where one is due; searches go on meanwhile."""
        index = self._index
        if index is None or len(index) <= max(self.exact, GROWTH * index.built_for):
            return
        if not self._building.acquire(blocking=False):
            return

        def build() -> None:
            try:
                built = self._build(index.model, index.metric)
                with self._lock:
                    if self._index is index:
                        self._index = built
            except Exception:
                log.exception("no approximate index could be built; search stays as it is")
            finally:
                self._building.release()

        threading.Thread(target=build, name="vitrine-index", daemon=True).start()
