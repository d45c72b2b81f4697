"""The in-process limit: decoding and running in a loop, without HTTP, with the best threads."""

import time
from concurrent.futures import ThreadPoolExecutor

from artifacts import Artifact, Runtime
from artifacts.provenance import cores
from benchmarks.load import Load, percentile
from benchmarks.pictures import PICTURES, Pictures
from serving.pictures.decode import read_prepared


def limit(artifact: Artifact, pictures: Pictures, each: int, seconds: float) -> Load:
    """Return the better of two: a call per core with one thread, or one call on all cores."""
    found = [
        _measure(artifact, pictures, each, seconds, calls, threads)
        for calls, threads in sorted({(cores(), 1), (1, cores())})
    ]
    return max(found, key=lambda load: load.requests / load.seconds)


def _measure(
    artifact: Artifact, pictures: Pictures, each: int, seconds: float, calls: int, threads: int
) -> Load:
    runtime = Runtime.open(artifact, threads)

    def answer(first: int) -> None:
        contents = [pictures.contents[(first + j) % PICTURES] for j in range(each)]
        prepared = [each.picture for each in read_prepared(contents, runtime.policy)]
        runtime.run(prepared, ["logits"], prepared=True)

    def loop(place: int) -> list[float]:
        latencies = []
        while time.perf_counter() < end:
            sent = time.perf_counter()
            answer(place)
            latencies.append(time.perf_counter() - sent)
            place += 1
        return latencies

    answer(0)
    begin = time.perf_counter()
    end = begin + seconds
    with ThreadPoolExecutor(calls) as pool:
        latencies = sorted(t for part in pool.map(loop, range(calls)) for t in part)
    elapsed = time.perf_counter() - begin
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return Load(len(latencies), 0, elapsed, p50, p99)
