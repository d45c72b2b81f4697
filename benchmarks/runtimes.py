"""OpenVINO beside ONNX Runtime on served models: pictures per CPU second, and how answers differ.

The same test pictures, in batches as the server makes them, one thread each, in turns within one
run. CPU seconds of this process count, so that other programs on the machine disturb less.

    pip install -c constraints.txt -e '.[serve,bench]'
    python -m benchmarks.runtimes --model cifar10-fast --model cars-lite0-finetuned
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import click
import numpy as np
import numpy.typing as npt
import openvino

from artifacts import Artifact, Runtime, probabilities
from artifacts.commands import run_command
from artifacts.datasets.registry import load, parse
from artifacts.graph import INPUT, OUTPUTS
from artifacts.provenance import code_version, hardware
from artifacts.runtime import Picture
from benchmarks.turns import in_turns
from serving.scheduler import CPU_BATCH_BYTES

Rows = npt.NDArray[np.float32]
PRECISIONS = ("f32", "bf16")


def compiled(artifact: Artifact, precision: str) -> openvino.CompiledModel:
    """The graph in OpenVINO, with one thread and pictures of any size."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(artifact.model_path, "CPU", settings)


def batches(pictures: Sequence[Picture], largest: int) -> Iterator[Picture]:
    """Prepared pictures, those of one size together, as many as the server would take at once."""
    groups: dict[tuple[int, ...], list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.shape, []).append(picture)
    for group in groups.values():
        count = min(largest, max(1, CPU_BATCH_BYTES // group[0].nbytes))
        for start in range(0, len(group), count):
            yield np.stack(group[start : start + count])  # (N, H, W, 3)


def ways(artifact: Artifact, output: str) -> dict[str, Callable[[Picture], Rows]]:
    """What each runtime gives for a batch."""
    runtime = Runtime.open(artifact, threads=1)

    def run(net: openvino.CompiledModel, batch: Picture) -> Rows:
        rows: Rows = net({INPUT: batch})[output].copy()
        return rows

    return {"onnxruntime": lambda batch: runtime.run_batch(batch, [output])[output]} | {
        f"openvino {precision}": partial(run, compiled(artifact, precision))
        for precision in PRECISIONS
    }


def answers(artifact: Artifact, rows: Sequence[Rows]) -> npt.NDArray[np.float64]:
    """Probabilities, or embeddings of length 1."""
    outputs = np.concatenate(rows)
    if artifact.manifest.task == "classification":
        return probabilities(outputs, artifact.manifest.temperature)
    lengths = np.linalg.norm(outputs.astype(np.float64), axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = outputs / lengths
    return unit


@click.command()
@click.option("--model", "models", multiple=True, required=True)
@click.option("--dataset", help="Of the pictures; by default what the model was trained on.")
@click.option("--pictures", type=click.IntRange(min=1), default=84, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="At most.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def main(
    models: Sequence[str], dataset: str | None, pictures: int, batch: int, rounds: int
) -> None:
    """Print a JSON line for each model."""
    for name in models:
        artifact = Artifact.open(name)
        manifest = artifact.manifest
        source = dataset or (manifest.dataset.name if manifest.dataset else "synthetic/objects")
        shown = list(load(*parse(source)).head(pictures).images)
        prepare = Runtime.open(artifact, threads=1).prepare
        work = list(batches([prepare(picture) for picture in shown], batch))
        runs = {
            way: partial(lambda run, work: [run(b) for b in work], run, work)
            for way, run in ways(artifact, OUTPUTS[manifest.task]).items()
        }
        found = {way: answers(artifact, run()) for way, run in runs.items()}
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
