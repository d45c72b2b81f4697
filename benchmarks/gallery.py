"""Measures the speed, the memory and the recall of the gallery of faces.

    python -m benchmarks.gallery --sizes 1000,100000,1000000
    python -m benchmarks.gallery --sizes 1000000 --database postgresql://… --index faiss,pgvector

Embeddings are generated, clustered like those of faces. People are random points in a space of 64
dimensions (face networks were found to use fewer: Gong et al. 2019, arXiv 1803.09672), which is
embedded in that of the embeddings; two pictures of one person have a cosine similarity of about
0.7. Queries are new pictures of enrolled people. Every line of the table is measured in a process
of its own, which opens the database like a worker. Recall is relative to a comparison of the
queries with all embeddings.

pgvector searches a gallery that was filled by a server with FAISS: "ready" of its exact search is
the time for moving the gallery, and that of its approximate search the time for building the index.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import psutil
from sqlalchemy import text

from artifacts.provenance import hardware
from serving.faces.gallery import Gallery
from serving.faces.index import PAGE_SIZE
from serving.faces.writer import NewPicture, add_pictures, bind_model

MODEL = "0" * 64
PICTURES = 5  # number of pictures of each person
INTRINSIC = 64  # number of dimensions in which people differ
SPREAD = 0.65  # length of the noise that is added to a person's vector of length 1
QUERIES = 500
SECONDS = 15  # after which no further query is sent
NEAREST = 5  # number of pictures among which recall is measured
ENROLMENTS = 200
PAGE = 20_000
AT_ONCE = 8
COLUMNS = {
    "pictures": "{size:,}",
    "search": "{index}, {kind}",
    "ready s": "{ready:.1f}",
    "worker MB": "{memory:.0f}",
    "server MB": "{server:.0f}",
    "table MB": "{table:.0f}",
    "index MB": "{graph:.0f}",
    "search p50 / p99 ms": "{search[0]:.2f} / {search[1]:.2f}",
    "identify p50 / p99 ms": "{identify[0]:.2f} / {identify[1]:.2f}",
    "8 at once p50 / p99 ms": "{at_once[0]:.2f} / {at_once[1]:.2f}",
    "queries": "{queries}",
    "recall@1": "{recall[0]:.3f}",
    "recall@5": "{recall[1]:.3f}",
    "enrol p50 / p99 ms": "{enrol[0]:.1f} / {enrol[1]:.1f}",
    "remove p50 / p99 ms": "{remove[0]:.1f} / {remove[1]:.1f}",
}


def people_of(size: int) -> np.ndarray:
    """Return the people of a gallery of `size` pictures as points in 64 dimensions, N x 64."""
    people = -(-size // PICTURES)
    return np.random.default_rng(0).standard_normal((people, INTRINSIC), np.float32)


def pictures_of(people: np.ndarray, dimension: int, random: np.random.Generator) -> np.ndarray:
    """Return embeddings (N x D, unit length) of a new picture of each person (N x 64)."""
    projection = np.random.default_rng(0).standard_normal((INTRINSIC, dimension), np.float32)
    noise = random.standard_normal((len(people), dimension), np.float32)
    return _unit(_unit(people @ projection) + SPREAD * _unit(noise))


def _unit(rows: np.ndarray) -> np.ndarray:
    result: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def fill(gallery: Gallery, size: int, dimension: int) -> float:
    """Put `size` pictures into an empty gallery; return the pictures per second."""
    people, random = people_of(size), np.random.default_rng(1)
    seconds = 0.0  # without the time for generating embeddings
    for start in range(0, size, PAGE):
        owners = np.arange(start, min(start + PAGE, size)) // PICTURES
        vectors = pictures_of(people[owners], dimension, random)
        begun = time.perf_counter()
        new = [
            _picture(f"person {owner}", vector)
            for owner, vector in zip(owners.tolist(), vectors, strict=True)
        ]
        with gallery.database.change() as change:
            bind_model(change, MODEL)
            add_pictures(change, new, MODEL, "benchmark", "import")
        seconds += time.perf_counter() - begun
    return size / seconds


def _picture(person: str, vector: np.ndarray) -> NewPicture:
    return NewPicture(person, vector, aligned=True, content=None, id=uuid.uuid4().hex)


@click.group(invoke_without_command=True)
@click.option("--sizes", default="1000,100000", show_default=True, help="Numbers of pictures.")
@click.option("--dimension", default=128, show_default=True, help="Of an embedding.")
@click.option("--database", help="URL of an empty PostgreSQL database; SQLite by default.")
@click.option("--index", "indexes", default="faiss", show_default=True, help="faiss or pgvector.")
@click.option("--threads", default=1, show_default=True, help="FAISS threads of a worker.")
@click.pass_context
def main(
    context: click.Context,
    sizes: str,
    dimension: int,
    database: str | None,
    indexes: str,
    threads: int,
) -> None:
    """Measure galleries of several sizes and print a table."""
    if context.invoked_subcommand:
        return
    if database and "," in sizes:
        raise click.UsageError(
            "--database must be empty for each size; give a single number with --sizes."
        )
    print(f"{hardware()}, {threads} FAISS thread(s), {dimension}-d\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for size in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            url = database or str(Path(folder) / "gallery.sqlite3")
            gallery = Gallery(url)
            imported = fill(gallery, size, dimension)
            gallery.database.close()
            print(f"{size:,} pictures imported, {imported:.0f} /s", file=sys.stderr, flush=True)
            for index in indexes.split(","):
                for kind in ("exact", "approximate"):
                    line = measure_aside(url, index, kind, size, dimension, threads)
                    values = {"size": size, "index": index, "kind": kind, **line}
                    print(f"| {' | '.join(c.format_map(values) for c in COLUMNS.values())} |")
                    sys.stdout.flush()


def measure_aside(url: str, index: str, *arguments: str | int) -> dict[str, Any]:
    """Run `measure` in a new process."""
    given = map(str, (url, index, *arguments))
    command = [sys.executable, "-m", "benchmarks.gallery", "measure", *given]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments[-1])}
    done = subprocess.run(  # noqa: S603
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(json.loads(done.stdout))


@main.command(hidden=True)
@click.argument("url")
@click.argument("index")
@click.argument("kind")
@click.argument("size", type=int)
@click.argument("dimension", type=int)
@click.argument("threads", type=int)
def measure(url: str, index: str, kind: str, size: int, dimension: int, threads: int) -> None:
    """Open a gallery like a worker, search it, and enrol and remove people."""
    process = psutil.Process()
    before = process.memory_info().rss
    begun = time.perf_counter()
    exact = 10**12 if kind == "exact" else 0
    gallery = Gallery(url, threads, exact, pgvector=index == "pgvector")
    gallery.load(MODEL, "euclidean")
    while gallery.search_kind()[0] != kind:  # pgvector's index is built in another thread
        time.sleep(0.1)
    ready = time.perf_counter() - begun
    random = np.random.default_rng(3)
    queries = pictures_of(random.choice(people_of(size), QUERIES), dimension, random)
    searched: Any = gallery._index  # noqa: SLF001 - measures the search without the database
    found, search = _timed(lambda query: searched.search(query[None], NEAREST)[0], queries)
    _, identify = _timed(lambda query: gallery.search(query, MODEL, "euclidean", 5), queries)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        _, at_once = _timed(
            lambda query: gallery.search(query, MODEL, "euclidean", 5), queries, pool.map
        )
    memory = (process.memory_info().rss - before) / 1e6
    sizes = _database_sizes(gallery)
    true = _nearest(gallery, queries[: len(found)])
    new = [_picture(f"new {i}", vector) for i, vector in enumerate(queries[:ENROLMENTS])]
    enrolled, enrol = _timed(lambda each: _enrol(gallery, each), new)
    _, remove = _timed(lambda person: gallery.writer.remove_person(person, "test"), enrolled)
    line = {
        "ready": ready,
        "memory": memory,
        **sizes,
        "search": search,
        "identify": identify,
        "at_once": at_once,
        "queries": len(found),
        "recall": [
            np.mean([np.isin(t[:n], f[:n]).mean() for t, f in zip(true, found, strict=True)])
            for n in (1, NEAREST)
        ],
        "enrol": enrol,
        "remove": remove,
    }
    print(json.dumps(line))


def _enrol(gallery: Gallery, new: NewPicture) -> str:
    gallery.writer.enrol(new.person, MODEL, [new], "benchmark")
    return new.person


def _timed(
    work: Callable[[Any], Any],
    given: Iterable[Any],
    apply: Callable[..., Iterable[Any]] = map,
) -> tuple[list[Any], list[float]]:
    """Do work for each of what is given; return the results, and the median and p99 in ms."""
    end = time.perf_counter() + SECONDS

    def one(each: Any) -> tuple[Any, float] | None:
        begun = time.perf_counter()
        return None if begun > end else (work(each), time.perf_counter() - begun)

    done = [each for each in apply(one, given) if each is not None]
    milliseconds = 1e3 * np.array([seconds for _, seconds in done])
    return [result for result, _ in done], np.percentile(milliseconds, [50, 99]).tolist()


def _nearest(gallery: Gallery, queries: np.ndarray) -> np.ndarray:
    """Return the numbers of the pictures nearest to each query (Q x D), Q x `NEAREST`."""
    best = np.full((len(queries), NEAREST), np.inf, np.float32)
    numbers = np.full((len(queries), NEAREST), -1, np.int64)
    after, head = 0, 1
    while after < head:
        page = gallery.reader.page(after, PAGE_SIZE)
        after, head = page.upto, page.head
        if len(page.numbers):
            distances, rows = faiss.knn(queries, page.vectors, min(NEAREST, len(page.numbers)))
            distances = np.hstack([best, distances])
            together = np.hstack([numbers, page.numbers[rows]])
            order = distances.argsort(axis=1)[:, :NEAREST]
            best = np.take_along_axis(distances, order, 1)
            numbers = np.take_along_axis(together, order, 1)
    return numbers


def _database_sizes(gallery: Gallery) -> dict[str, float]:
    """Return the MB of PostgreSQL's processes, of the table of embeddings, and of its HNSW index.

    All are NaN on SQLite, and the first if the server is on another machine.
    """
    sizes = dict.fromkeys(("server", "table", "graph"), float("nan"))
    if gallery.database.sqlite:
        return sizes
    with gallery.database.read() as connection:
        table = "pg_table_size('embeddings')"
        graph = "SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname LIKE 'searched%'"
        row = connection.execute(text(f"SELECT pg_backend_pid(), {table}, ({graph})")).one()
        sizes.update(table=row[1] / 1e6, graph=float(row[2] or 0) / 1e6)
        with suppress(psutil.NoSuchProcess):
            session = psutil.Process(row[0])
            if session.name() == "postgres" and (server := session.parent()):
                processes = [server, *server.children()]
                sizes["server"] = sum(p.memory_full_info().pss for p in processes) / 1e6
    return sizes


if __name__ == "__main__":
    main()
