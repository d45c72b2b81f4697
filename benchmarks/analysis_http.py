"""Compares the speed of an analysis over HTTP with the same analysis in process.

Both ask for the features of the same pictures through `analysis.answers`, in alternation within one
run. The server runs on this machine and serves the same artifacts. Wall time is measured, because
the server is another process, so that nothing else should run on the machine.

    python -m serving run --port 3000
    python -m benchmarks.analysis_http --url http://127.0.0.1:3000 --model cifar10-fast \
        --dataset cifar10:test --limit 2000
"""

import json
import time

import click

from analysis.answers import features
from analysis.inputs import Pictures
from artifacts import VitrineError
from artifacts.commands import run_command
from artifacts.provenance import code_version, cores, hardware
from serving.client import connect


@click.command()
@click.option("--url", required=True, help="Address of a server with the same artifacts.")
@click.option("--model", required=True, metavar="NAME")
@click.option("--dataset", default="synthetic/objects:test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(url: str, model: str, dataset: str, limit: int, rounds: int) -> None:
    """Print a JSON line with the minimum seconds of both and their ratio."""
    pictures = Pictures.from_dataset(dataset, limit)
    ways = {"http": connect(url), "in_process": connect()}
    infos = {name: predictor.model_info(model) for name, predictor in ways.items()}
    if infos["http"].hash != infos["in_process"].hash:
        raise VitrineError(
            f"the server has another version of {model}; serve the artifacts of this machine."
        )
    seconds = dict.fromkeys(ways, float("inf"))
    for number in range(rounds + 1):  # the first round is the warm-up
        for name, predictor in ways.items():
            start = time.perf_counter()
            features(predictor, infos[name], pictures)
            if number:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    result = {
        "model": model,
        **{f"{name}_seconds": round(value, 3) for name, value in seconds.items()},
        "ratio": round(seconds["http"] / seconds["in_process"], 3),
        "pictures": len(pictures),
        "dataset": dataset,
        "rounds": rounds,
        "cores": cores(),
        "hardware": hardware(),
        "code_version": code_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.analysis_http")
