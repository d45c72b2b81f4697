"""Compares OpenVINO with ONNX Runtime on served models: pictures per CPU second, and answers.

Both get the same test pictures, in batches like those of the server, with one thread each, in
alternation within one run. The CPU time of this process is measured, so that other programs on the
machine disturb less. With `--accuracy`, both classify the whole test split once, in its order and
with mixed sizes.

    pip install -c constraints.txt -e '.[serve,bench]'
    python -m benchmarks.runtimes --model cifar10-fast --model cars-lite0-finetuned
    python -m benchmarks.runtimes --accuracy --model cifar10-fast
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import click
import numpy as np
import numpy.typing as npt
import openvino

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.commands import run_command
from artifacts.datasets.registry import load, parse
from artifacts.graph import INPUT, OUTPUTS
from artifacts.pictures import Picture
from artifacts.provenance import code_version, hardware
from artifacts.runtime import CPU_BATCH_BYTES, in_chunks
from artifacts.sessions import OpenVinoSession
from benchmarks.turns import in_turns
from serving.inference.runtimes import answers

Rows = npt.NDArray[np.float32]
PRECISIONS = ("f32", "bf16")


def compiled(artifact: Artifact, precision: str) -> openvino.CompiledModel:
    """Compile the graph with OpenVINO, for one thread and pictures of any size."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(artifact.model_path, "CPU", settings)


def batches(pictures: Sequence[Picture], largest: int) -> Iterator[Picture]:
    """Yield batches of prepared pictures of one size, as large as those of the server."""
    groups: dict[tuple[int, ...], list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.shape, []).append(picture)
    for group in groups.values():
        count = min(largest, max(1, CPU_BATCH_BYTES // group[0].nbytes))
        for start in range(0, len(group), count):
            yield np.stack(group[start : start + count])  # (N, H, W, 3)


def runners(artifact: Artifact, output: str) -> dict[str, Callable[[Picture], Rows]]:
    """Return a function for each runtime that computes an output of a batch."""
    runtime = Runtime.open(artifact, threads=1)

    def run(net: openvino.CompiledModel, batch: Picture) -> Rows:
        rows: Rows = net({INPUT: batch})[output].copy()
        return rows

    return {"onnxruntime": lambda batch: runtime.run_batch(batch, [output])[output]} | {
        f"openvino {precision}": partial(run, compiled(artifact, precision))
        for precision in PRECISIONS
    }


def measure_accuracy(
    artifact: Artifact, source: str, pictures: int | None, batch: int
) -> dict[str, object]:
    """Measure the accuracy and speed (with resizing) of both, `batch` test pictures at a time."""
    output = OUTPUTS["classification"]
    if artifact.manifest.task != "classification":
        raise ArtifactError(
            f"{artifact.name} is no classifier; accuracy can only be measured for models that give "
            "each picture one class."
        )
    test = load(*parse(source)).head(pictures)
    runtimes = [Runtime.open(artifact, 1), Runtime.open(artifact, 1, OpenVinoSession)]
    rows: list[list[Rows]] = [[] for _ in runtimes]
    seconds = [0.0 for _ in runtimes]
    for chunk in in_chunks(test.images, batch):
        for number, runtime in enumerate(runtimes):
            start = time.process_time()
            rows[number].append(runtime.run(chunk, [output])[output])
            seconds[number] += time.process_time() - start
    found = [answers(artifact, np.concatenate(each)) for each in rows]
    best = [each.argmax(axis=1) for each in found]
    names = [runtime.provider for runtime in runtimes]
    right = [float((each == test.labels).mean()) for each in best]
    return {
        "pictures": len(test),
        "accuracy": {n: round(share, 4) for n, share in zip(names, right, strict=True)},
        "another_class": int((best[0] != best[1]).sum()),
        "pictures_per_cpu_second": {
            n: round(len(test) / s, 1) for n, s in zip(names, seconds, strict=True)
        },
        "largest_difference": float(f"{np.abs(found[0] - found[1]).max():.2g}"),
        "hardware": hardware(),
        "code_version": code_version(),
    }


@click.command()
@click.option("--model", "models", multiple=True, required=True, help="Model; may be repeated.")
@click.option("--dataset", help="Data set; by default the one that the model was trained on.")
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    help="Number of pictures, evenly spaced over the set; by default 84, or all with --accuracy.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Maximum number of pictures in a batch.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--accuracy", is_flag=True, help="Measure the accuracy of both runtimes on the test split."
)
def main(
    models: Sequence[str],
    dataset: str | None,
    pictures: int | None,
    batch: int,
    rounds: int,
    accuracy: bool,
) -> None:
    """Print a JSON line for each model."""
    for name in models:
        artifact = Artifact.open(name)
        manifest = artifact.manifest
        source = dataset or (manifest.dataset.name if manifest.dataset else "synthetic/objects")
        if accuracy:
            measured = measure_accuracy(artifact, source, pictures, batch)
            print(json.dumps({"model": name, "dataset": source, **measured}), flush=True)
            continue
        shown = list(load(*parse(source)).head(pictures or 84).images)
        prepare = Runtime.open(artifact, threads=1).prepare
        work = list(batches([prepare(picture) for picture in shown], batch))
        runs = {
            runtime: partial(lambda run, work: [run(b) for b in work], run, work)
            for runtime, run in runners(artifact, OUTPUTS[manifest.task]).items()
        }
        found = {name: answers(artifact, np.concatenate(run())) for name, run in runs.items()}
        seconds = in_turns(runs, rounds)
        expected = found["onnxruntime"]
        result = {
            "model": name,
            "dataset": source,
            "pictures": len(shown),
            "batches": len(work),
            "sizes": len({b.shape[1:] for b in work}),
            "pictures_per_cpu_second": {w: round(len(shown) / s, 1) for w, s in seconds.items()},
            "times_onnxruntime": {
                w: round(seconds["onnxruntime"] / s, 2) for w, s in seconds.items()
            },
            "largest_difference": {
                w: float(f"{np.abs(a - expected).max():.2g}") for w, a in found.items()
            },
            "rounds": rounds,
            "hardware": hardware(),
            "code_version": code_version(),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.runtimes")
