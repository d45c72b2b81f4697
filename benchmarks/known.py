"""What verdicts about known pictures cost, and how often they are right on other pictures.

    python -m benchmarks.known time
    python -m benchmarks.known verdicts

`time` compares the processor time of an answer, from the bytes of a picture to JSON without HTTP,
with and without the detector, in turns on one thread. Both run the outputs that the server runs,
which reads the features for drift in any case. `verdicts` asks about pictures that no detector was
chosen or fitted with, of the int8 and the float32 graph. Photographs of other things are crops of
the two samples of scikit-learn.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from artifacts import Artifact, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.commands import run_command
from artifacts.datasets import load
from artifacts.intervals import interval
from artifacts.known.detector import KNOWN_FILE, Detector
from artifacts.known.fitting import look
from artifacts.known.outliers import Pictures, named
from artifacts.known.record import KEEP
from artifacts.pictures import Picture
from artifacts.provenance import hardware
from artifacts.reference import answer_outputs
from serving.client.chunks import encode
from serving.inference import results
from serving.inference.served_model import ServedModel
from serving.pictures.decode import read_prepared

MODELS = "cars-lite0-finetuned,cifar10-lite0,cifar10-fast,cifar10-gap,mnist-relu-cross-entropy-sgd"
SEED = 7
SETS = (
    "generated:plain",
    "generated:noise",
    "generated:gradients",
    "generated:drawings",
    "generated:pages",
    "generated:charts",
    "synthetic/objects:train",
    "synthetic/shapes:train",
    "faces/celeba:test",
    "faces/orl:train",
    "cifar10:test",
    "stanford_cars:train",
    "mnist:test",
)
models_option = click.option("--models", default=MODELS, show_default=True)


@click.group()
def main() -> None:
    """Measure verdicts."""


@main.command("time")
@models_option
@click.option("--requests", default=100, show_default=True, help="In a round, of one picture each.")
@click.option("--rounds", default=15, show_default=True, help="The fastest is taken.")
def time_command(models: str, requests: int, rounds: int) -> None:
    """Print the processor time of an answer with and without the detector."""
    click.echo(f"{hardware()}; one thread, the fastest of {rounds} rounds of {requests} requests\n")
    click.echo("| model | without | with | more |\n|---|---|---|---|")
    for name in models.split(","):
        model = ServedModel(Artifact.open(name), threads=1)
        detector, least = model.detector, model.manifest.input.accepted_side[0]
        side = (model.manifest.input.native_side or (least, 28))[1]
        content = encode(_of_kind(model, side))

        def answer(model: ServedModel = model, content: bytes = content) -> bytes:
            prepared = read_prepared([content], model.manifest.input)
            names = answer_outputs(model.runtime)
            outputs = model.runtime.run([prepared[0].picture], names, prepared=True)
            found = results.classification(model, prepared, outputs, 5)
            return found.model_dump_json(by_alias=True).encode()

        best = {False: np.inf, True: np.inf}
        for number in range(2 * rounds):
            judged = bool(number % 2)
            model.detector = detector if judged else None
            best[judged] = min(best[judged], _processor_time(answer, requests))
        more = best[True] / best[False] - 1
        cells = [f"{1e3 * best[judged]:.3f} ms" for judged in (False, True)]
        click.echo(f"| {name} | {' | '.join(cells)} | {more:.1%} |")


@main.command("verdicts")
@models_option
def verdicts_command(models: str) -> None:
    """Print the shares of pictures that get `cannot_say`."""
    names = models.split(",")
    click.echo(f"{hardware()}; seed {SEED}, kept {KEEP:g}; share refused, with 95 % interval\n")
    click.echo(f"| pictures | number | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    judges = [_judges(Artifact.open(name)) for name in names]
    for pictures in (*(named(text, SEED) for text in SETS), _crops()):
        shares = [_cell(judge(pictures) for judge in judge_all) for judge_all in judges]
        click.echo(f"| {pictures.name} | {len(pictures.images)} | {' | '.join(shares)} |")


def _of_kind(model: ServedModel, side: int) -> Picture:
    """Return a test picture of the model's data set, in the given size."""
    data = model.manifest.dataset
    assert data is not None  # noqa: S101 - all models of the project have one
    picture = Image.fromarray(load(data.name, "test").images[0])
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


Judge = Callable[[Pictures], tuple[int, int]]


def _judges(artifact: Artifact) -> list[Judge]:
    """Return what counts refused pictures by the graph that is served, and by the float32 graph."""
    detector = Detector.read(artifact.read(KNOWN_FILE))
    graphs = dict.fromkeys((artifact.model_file, MODEL_FILE))
    runtimes = [Runtime(artifact.read(file), artifact.manifest.input, 1) for file in graphs]

    def judge(pictures: Pictures, runtime: Runtime) -> tuple[int, int]:
        seen = look(runtime, pictures.name, pictures.images)
        refused = detector.scores(seen.features, seen.logits) < 1 - KEEP
        return int(refused.sum()), len(refused)

    return [partial(judge, runtime=runtime) for runtime in runtimes]


def _cell(counts: Any) -> str:
    """Write the share and interval of the served graph, and the share of float32 if it differs."""
    (refused, total), *others = counts
    low, high = interval(refused, total)
    text = f"{refused / total:.3f} ({low:.3f} to {high:.3f})"
    return text + "".join(f"; float32 {other / total:.3f}" for other, _ in others)


def _crops() -> Pictures:
    """Two hundred crops of 100 to 400 px of the photographs of a temple and of a flower."""
    random = np.random.default_rng(SEED)
    crops: list[Picture] = []
    for photograph in load_sample_images().images:
        for _ in range(100):
            side = int(random.integers(100, 400))
            top, left = (int(random.integers(0, n - side)) for n in photograph.shape[:2])
            crops.append(photograph[top : top + side, left : left + side])
    return Pictures("crops of two photographs", crops)


def _processor_time(answer: Callable[[], bytes], requests: int) -> float:
    start = time.thread_time()
    for _ in range(requests):
        answer()
    return (time.thread_time() - start) / requests


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.known")
