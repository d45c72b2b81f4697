"""How fast pictures are indexed and found, exactly and approximately.

    python -m benchmarks.picture_index --model cifar10-lite0 --dataset cifar10:train --limit 50000

The vectors are the features of a data set's pictures, in a random order; the last thousand are the
queries. Searches use one core and ask about one picture at a time, as a server does.
"""

import time

import click
import numpy as np

from artifacts import Artifact, Runtime
from artifacts.commands import run_command
from artifacts.datasets.registry import load, parse
from artifacts.provenance import hardware
from serving.indexes.search import Floats, VectorIndex, unit

QUERIES = 1000
FOUND = 10
"""Number of neighbours that each query asks for."""
BATCH = 250


@click.command()
@click.option("--model", default="cifar10-lite0", show_default=True)
@click.option("--dataset", default="cifar10:train", show_default=True)
@click.option("--limit", default=50_000, show_default=True, help="Maximum number of pictures.")
@click.option("--sizes", default="1000,10000,49000", show_default=True, help="Of the indexes.")
def main(model: str, dataset: str, limit: int, sizes: str) -> None:
    """Print a row for each size and kind of index."""
    vectors = _features(model, dataset, limit)
    stored, queries = vectors[:-QUERIES], vectors[-QUERIES:]
    click.echo(f"{hardware()}; {vectors.shape[1]} floats in a vector")
    click.echo("| vectors | search | built in | one search | recall@10 |\n|---|---|---|---|---|")
    for size in map(int, sizes.split(",")):
        exact, built = _timed(stored[:size], max_exact=stored.size)
        true, seconds = _search(exact, queries)
        click.echo(f"| {size:,} | exact | {built:.2f} s | {1000 * seconds:.2f} ms | 1 |")
        approximate, built = _timed(stored[:size], max_exact=0)
        found, seconds = _search(approximate, queries)
        recall = np.mean([np.isin(t, f).mean() for t, f in zip(true, found, strict=True)])
        click.echo(f"| {size:,} | HNSW | {built:.2f} s | {1000 * seconds:.2f} ms | {recall:.4f} |")


def _features(model: str, dataset: str, limit: int) -> Floats:
    runtime = Runtime.open(Artifact.open(model))
    pictures = load(*parse(dataset)).images
    count = min(limit, len(pictures))
    rows = []
    for start in range(0, count, BATCH):
        batch = [pictures[i] for i in range(start, min(start + BATCH, count))]
        rows.append(runtime.run(batch, ["features"])["features"])
    order = np.random.default_rng(0).permutation(count)
    return unit(np.concatenate(rows)[order])


def _timed(vectors: Floats, max_exact: int) -> tuple[VectorIndex, float]:
    """Return an index, and the seconds that it took to build."""
    begun = time.perf_counter()
    index = VectorIndex.build(vectors, max_exact)
    return index, time.perf_counter() - begun


def _search(index: VectorIndex, queries: Floats) -> tuple[list[np.ndarray], float]:
    """Return the neighbours of each query, and the median of the seconds that a search took."""
    found, seconds = [], []
    for query in queries:
        begun = time.perf_counter()
        rows, _ = index.search(query[None], FOUND)
        seconds.append(time.perf_counter() - begun)
        found.append(rows[0])
    return found, float(np.median(seconds))


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.picture_index")
