"""Measures the speed, the memory and the recall of the gallery of faces.

    python -m benchmarks.gallery --sizes 1000,100000,1000000

Embeddings with 512 dimensions are generated, clustered like those of faces. People are random
points in a space of 64 dimensions (face networks were found to use fewer: Gong et al. 2019, arXiv
1803.09672), which is embedded in the 512; two pictures of one person have a cosine similarity of
about 0.7. Queries are new pictures of enrolled people. Every line of the table is measured in a
process of its own, which opens the database like a worker.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from artifacts.provenance import hardware
from serving.faces.gallery import Gallery
from serving.faces.writer import NewPicture, add_pictures, bind_model

MODEL = "0" * 64
DIMENSION = 512
PICTURES = 5  # number of pictures of each person
INTRINSIC = 64  # number of dimensions in which people differ
SPREAD = 0.65  # length of the noise that is added to a person's vector of length 1
QUERIES = 500
ENROLMENTS = 200
PAGE = 20_000


def people_of(size: int) -> np.ndarray:
    """Return the people of a gallery of `size` pictures as points in 64 dimensions, N x 64."""
    people = -(-size // PICTURES)
    return np.random.default_rng(0).standard_normal((people, INTRINSIC), np.float32)


def pictures_of(people: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return embeddings (N x 512, unit length) of a new picture of each person (N x 64)."""
    projection = np.random.default_rng(0).standard_normal((INTRINSIC, DIMENSION), np.float32)
    noise = random.standard_normal((len(people), DIMENSION), np.float32)
    return _unit(_unit(people @ projection) + SPREAD * _unit(noise))


def _unit(rows: np.ndarray) -> np.ndarray:
    result: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def fill(gallery: Gallery, size: int) -> float:
    """Put `size` pictures into an empty gallery; return the pictures per second."""
    people, random = people_of(size), np.random.default_rng(1)
    seconds = 0.0  # without the time for generating embeddings
    for start in range(0, size, PAGE):
        owners = np.arange(start, min(start + PAGE, size)) // PICTURES
        vectors = pictures_of(people[owners], random)
        begun = time.perf_counter()
        new = [
            NewPicture(f"person {owner}", vector, aligned=True, content=None, id=uuid.uuid4().hex)
            for owner, vector in zip(owners.tolist(), vectors, strict=True)
        ]
        with gallery.database.change() as change:
            bind_model(change, MODEL)
            add_pictures(change, new, MODEL, "benchmark", "import")
        seconds += time.perf_counter() - begun
    return size / seconds


def enrol(gallery: Gallery) -> float:
    """Enrol one picture at a time, each with a commit to disk; return enrolments per second."""
    random = np.random.default_rng(2)
    strangers = random.standard_normal((ENROLMENTS, INTRINSIC), np.float32)
    vectors = pictures_of(strangers, random)
    begun = time.perf_counter()
    for number, vector in enumerate(vectors):
        new = NewPicture(f"new {number}", vector, aligned=True, content=None, id=uuid.uuid4().hex)
        gallery.writer.enrol(new.person, MODEL, [new], "benchmark")
    return ENROLMENTS / (time.perf_counter() - begun)


@click.group(invoke_without_command=True)
@click.option("--sizes", default="1000,100000", show_default=True, help="Numbers of pictures.")
@click.option("--database", help="URL of an empty PostgreSQL database; SQLite by default.")
@click.option("--threads", default=1, show_default=True, help="FAISS threads of a worker.")
@click.pass_context
def main(context: click.Context, sizes: str, database: str | None, threads: int) -> None:
    """Measure galleries of several sizes and print a table."""
    if context.invoked_subcommand:
        return
    if database and "," in sizes:
        raise click.UsageError(
            "--database must be empty for each size; give a single number with --sizes."
        )
    print(f"{hardware()}, {threads} FAISS thread(s), {DIMENSION}-d\n")
    print(
        "| pictures | search | ready s | memory MB | search p50 / p99 ms | identify p50 / p99 ms "
        "| recall@1 | imported /s | enrolled /s |"
    )
    print("|" + "---|" * 9)
    for size in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            url = database or str(Path(folder) / "gallery.sqlite3")
            gallery = Gallery(url)
            imported = fill(gallery, size)
            enrolled = enrol(gallery)
            gallery.database.close()
            for kind in ("exact", "approximate"):
                line = measure_aside(url, kind, size, threads, Path(folder) / "exact.npy")
                print(
                    f"| {size:,} | {kind} | {line['ready']:.1f} | {line['memory']:.0f} "
                    f"| {line['search'][0]:.2f} / {line['search'][1]:.2f} "
                    f"| {line['identify'][0]:.2f} / {line['identify'][1]:.2f} "
                    f"| {line['recall']:.3f} | {imported:.0f} | {enrolled:.0f} |",
                    flush=True,
                )


def measure_aside(url: str, kind: str, size: int, threads: int, answers: Path) -> dict[str, Any]:
    """Run `measure` in a new process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gallery",
        "measure",
        url,
        kind,
        str(size),
        str(threads),
        str(answers),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(  # noqa: S603
        command, env=environment, check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


@main.command(hidden=True)
@click.argument("url")
@click.argument("kind")
@click.argument("size", type=int)
@click.argument("threads", type=int)
@click.argument("answers", type=Path)
def measure(url: str, kind: str, size: int, threads: int, answers: Path) -> None:
    """Open a gallery like a worker and search it; the exact search saves its answers for recall."""
    process = psutil.Process()
    before = process.memory_info().rss
    begun = time.perf_counter()
    gallery = Gallery(url, threads, exact=10**12 if kind == "exact" else 0)
    gallery.load(MODEL, "euclidean")
    ready = time.perf_counter() - begun
    random = np.random.default_rng(3)
    queries = pictures_of(random.choice(people_of(size), QUERIES), random)
    found = np.empty(QUERIES, np.int64)
    search, identify = np.empty(QUERIES), np.empty(QUERIES)
    index: Any = gallery._index  # noqa: SLF001 - measures the search without the database
    for i, query in enumerate(queries):
        begun = time.perf_counter()
        found[i] = index.search(query[None], 1)[0, 0]
        search[i] = time.perf_counter() - begun
        begun = time.perf_counter()
        gallery.search(query, MODEL, "euclidean", 5)
        identify[i] = time.perf_counter() - begun
    if kind == "exact":
        np.save(answers, found)
    print(
        json.dumps(
            {
                "ready": ready,
                "memory": (process.memory_info().rss - before) / 1e6,
                "search": (1e3 * np.percentile(search, [50, 99])).tolist(),
                "identify": (1e3 * np.percentile(identify, [50, 99])).tolist(),
                "recall": float((found == np.load(answers)).mean()),
            }
        )
    )


if __name__ == "__main__":
    main()
