"""The search of embeddings inside PostgreSQL, by pgvector: a worker holds none of them.

An exact search compares the query with every embedding, in float32. An approximate one goes through
an HNSW graph (Malkov and Yashunin 2018, arXiv 1603.09320) of the embeddings in float16, which all
workers and servers share. Its comment says how it is searched, and with what recall.
"""

import json
import logging
import time

import numpy as np
from sqlalchemy import Connection, TextClause, text

from serving.faces import pgvector
from serving.faces.index import (
    MIN_RECALL,
    PAGE_SIZE,
    REBUILD_GROWTH,
    RECALL_QUERIES,
    GroundTruth,
    Metric,
)
from serving.faces.reader import GalleryReader, Numbers, Vectors
from serving.faces.writer import model_mismatch

SEARCH_CANDIDATES = 64
"""Number of candidates in a search (ef_search of HNSW) with which tuning begins."""
MAX_SEARCH_CANDIDATES = 1000
"""Maximum of ef_search that pgvector accepts."""
BUILD_LOCK = 0x56495452494E47
"""Key of the PostgreSQL advisory lock that is held while the approximate index is built."""
BUILD_WAIT_SECONDS = 5
"""Time between two looks at whether another worker is still building it."""
LOGGED_ROWS = 100_000
"""Number of embeddings after each of which filling the column is logged."""
OPERATORS = {"euclidean": "<->", "cosine": "<=>"}
CLASSES = {"euclidean": "halfvec_l2_ops", "cosine": "halfvec_cosine_ops"}
STATE = text(
    "SELECT model, head,"
    " (SELECT count(*) FROM embeddings WHERE model = :model AND picture > :after) AS added,"
    " (SELECT count(*) FROM changes WHERE number > :after AND removed <= :after) AS removed,"
    " (SELECT obj_description(indexrelid, 'pg_class') FROM pg_index"
    " WHERE indexrelid = to_regclass(:name) AND indisvalid) AS comment"
    " FROM gallery"
)
"""The gallery after a change, in one snapshot."""
APPROXIMATE = text(
    "SELECT set_config('hnsw.ef_search', :candidates, true),"
    " set_config('hnsw.iterative_scan', 'relaxed_order', true),"
    " set_config('enable_sort', 'off', true)"
)
"""Sets up a transaction: it goes on where the candidates are too few, and does not sort the rows of
a small table instead of searching the index."""
DIMENSION = text(
    "SELECT vector_dims(searched) FROM embeddings"
    " WHERE model = :model AND searched IS NOT NULL LIMIT 1"
)
OLD_INDEXES = text(
    "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid"
    " WHERE indrelid = to_regclass('embeddings') AND starts_with(relname, 'searched_')"
)
"""Names of the approximate indexes: of other models, and one that was not built to the end."""

log = logging.getLogger("bentoml.vitrine")


class PgvectorIndex:
    """Finds the numbers of the pictures whose embeddings are nearest, as `Index` does.

    Args:
        reader: of the gallery.
        model: hash of the model whose embeddings it searches.
        metric: metric of that model.
        exact: number of embeddings up to which the search is exact.
    """

    def __init__(self, reader: GalleryReader, model: str, metric: Metric, exact: int) -> None:
        self.reader = reader
        self.model = model
        self.metric: Metric = metric
        self.exact = exact
        self.name = f"searched_{model[:16]}_{metric}"  # of the approximate index in the database
        self.last_change = 0  # number of the last change up to which every embedding is searched
        self.approximate = False
        self.built_for = 0
        self.recall: float | None = None
        self._size = 0
        self._candidates = 0

    @classmethod
    def build(
        cls, reader: GalleryReader, model: str, metric: Metric, exact: int
    ) -> "PgvectorIndex":
        """Build the approximate index and measure its recall, unless another worker has done so.

        Enrolments, removals and exact searches go on meanwhile.
        """
        with reader.database.session() as connection:
            connection.execute(text("SET lock_timeout = 0"))  # building waits for old transactions
            lock = text("SELECT pg_try_advisory_lock(:key)")
            # Waiting inside the database would hold a snapshot, for which the building waits.
            while not connection.scalar(lock, {"key": BUILD_LOCK}):
                time.sleep(BUILD_WAIT_SECONDS)
            index = cls(reader, model, metric, exact)
            index.update()
            if len(index) > REBUILD_GROWTH * index.built_for:
                index._build(connection)
        return index

    def __len__(self) -> int:
        return self._size

    def update(self) -> None:
        """Take into account every change of the gallery that was committed before the call.

        Raises:
            RequestError: the gallery holds embeddings of another model.
        """
        given = {"model": self.model, "after": self.last_change, "name": self.name}
        with self.reader.database.read() as connection:
            state = connection.execute(STATE, given).one()
        if state.model not in {None, self.model}:
            raise model_mismatch(state.model, self.model)
        if state.head != self.last_change:
            self._fill(state.added)
            self._size += state.added - state.removed
            self.last_change = state.head
        built = json.loads(state.comment or "{}")
        self._candidates = built.get("ef_search", 0)
        self.recall = built.get("recall")
        self.built_for = built.get("size", 0)
        self.approximate = bool(built) and len(self) > self.exact

    def search(self, query: Vectors, count: int) -> Numbers:
        """Return the numbers of the `count` pictures nearest to each query (Q x D), nearest first.

        Returns:
            int64 Q x min(count, number of embeddings); -1 if an approximate search found fewer.
        """
        found = np.full((len(query), min(count, len(self))), -1, np.int64)
        if not found.size:
            return found
        approximate = self.approximate  # another thread may find that the index is there now
        with self.reader.database.read() as connection:
            if approximate:
                candidates = min(max(self._candidates, count), MAX_SEARCH_CANDIDATES)
                connection.execute(APPROXIMATE, {"candidates": str(candidates)})
            statement = self._nearest(query.shape[1], approximate)
            for row, vector in zip(found, query, strict=True):
                given = {"query": str(vector.tolist()), "count": len(row)}
                numbers = connection.scalars(statement, given).all()
                row[: len(numbers)] = numbers
        return found

    def _fill(self, added: int) -> None:
        """Fill the column `searched` where a server without pgvector has left it empty."""
        after, filled = self.last_change, 0
        while True:
            with self.reader.database.write() as connection:
                after = pgvector.fill(connection, self.model, after)
            if not after:
                return
            filled += pgvector.FILL_ROWS
            if filled % LOGGED_ROWS == 0:
                log.info("faces made ready for pgvector: %d of at most %d", filled, added)

    def _nearest(self, dimension: int, approximate: bool) -> TextClause:
        """Return the query for the nearest pictures; only in float16 is it one for the index."""
        kind = f"halfvec({dimension})" if approximate else "vector"
        column = f"CAST(searched AS {kind})" if approximate else "searched"
        # The model is a literal, because the approximate index is one of this model's rows.
        return text(
            f"SELECT picture FROM embeddings WHERE model = '{self.model}'"  # noqa: S608 - a hash
            f" ORDER BY {column} {OPERATORS[self.metric]} CAST(:query AS {kind}) LIMIT :count"
        )

    def _build(self, connection: Connection) -> None:
        """Build the approximate index if it is missing, and store how it is to be searched."""
        if not self.built_for:
            dimension = connection.scalar(DIMENSION, {"model": self.model})
            memory = connection.scalar(text("SHOW maintenance_work_mem"))
            message = "PostgreSQL builds an index of %d faces, with maintenance_work_mem = %s"
            log.info(message, len(self), memory)
            for name in connection.scalars(OLD_INDEXES).all():
                connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
            statement = (
                f"CREATE INDEX CONCURRENTLY {self.name} ON embeddings USING hnsw"
                f" (CAST(searched AS halfvec({dimension})) {CLASSES[self.metric]})"
                f" WHERE model = '{self.model}'"
            )
            connection.execute(text(statement))
        self._tune()
        built = {"ef_search": self._candidates, "recall": self.recall, "size": len(self)}
        connection.exec_driver_sql(f"COMMENT ON INDEX {self.name} IS '{json.dumps(built)}'")
        log.info("approximate search of %d faces: recall@1 %.3f", len(self), self.recall)

    def _tune(self) -> None:
        """Search with more candidates until `MIN_RECALL` is reached, and measure the recall."""
        truth = GroundTruth(*self.reader.sample(RECALL_QUERIES, seed=1), self.metric)
        after, head = 0, 1
        while after < head:
            page = self.reader.page(after, PAGE_SIZE)
            truth.update(page.numbers, page.vectors)
            after, head = page.upto, page.head
        self.approximate = True
        self.built_for = len(self)
        self._candidates = SEARCH_CANDIDATES
        while True:
            self.recall = truth.recall(self.search(truth.vectors, 2))
            if self.recall >= MIN_RECALL or self._candidates == MAX_SEARCH_CANDIDATES:
                return
            self._candidates = min(2 * self._candidates, MAX_SEARCH_CANDIDATES)
